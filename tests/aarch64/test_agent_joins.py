"""An aarch64 agent beside an x86-64 one: one site, one negotiation, and the aarch64 worker answers."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.aarch64.conftest import EmulatedAgent
from tests.fleet.conftest import TINY, Fleet, FleetMaker
from tests.patience import patient

# An emulator's translated code counts as memory of the worker, some 60 MB: room for many sequences is room for that.
WORKLOAD = {**TINY, "config": {**TINY["config"], "max_sequences": 48}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(patient(600))]


def test_it_bids_wins_and_serves(make_fleet: FleetMaker, start_emulated: EmulatedAgent, tmp_path: Path) -> None:
    # Emulated processes answer late; a lease of the default TTL leaves room for that.
    fleet = make_fleet(agents={"desk": "edge-box"}, ttl_s=15.0)
    process = start_emulated(fleet, "arm", "gpu-server")

    def said() -> str:
        return (tmp_path / "arm.log").read_text()

    def online() -> bool:
        assert process.poll() is None, said()
        return "arm" in fleet.online()

    fleet.until(online, "the emulated agent online", patient(120))

    assert _architecture(fleet, "arm") == "aarch64"
    assert _architecture(fleet, "desk") == platform.machine()

    fleet.apply(**WORKLOAD, constraints={"exclude_nodes": ["desk"]})
    fleet.ready("tiny-chat", timeout_s=patient(180))
    holder = fleet.holders("tiny-chat")[0]
    assert holder["node"] == "arm", said()

    bids = fleet.get("/api/v1/workloads/tiny-chat/explain")["record"]["bids"]
    (won,) = [bid for bid in bids if bid["outcome"] == "won"]
    assert (won["node"], won["variant"]) == ("arm", "q8-sparse-native")
    assert {bid["node"] for bid in bids} == {"arm", "desk"}

    # The emulated worker computes with NEON; this machine's own kernels must find the same words.
    emulated = fleet.complete("tiny-chat", max_tokens=8)
    assert emulated.status_code == 200, emulated.text
    assert emulated.headers["fairlead-node"] == "arm"
    fleet.apply(**WORKLOAD, constraints={"exclude_nodes": ["arm"]})
    fleet.until(lambda: _node_of(fleet.holders("tiny-chat")) == "desk", "the replica on the other node", patient(120))
    native = fleet.complete("tiny-chat", max_tokens=8)
    assert native.status_code == 200, native.text
    assert native.headers["fairlead-node"] == "desk"
    assert native.json()["choices"][0]["text"] == emulated.json()["choices"][0]["text"]


def _architecture(fleet: Fleet, node: str) -> str:
    vertices = [vertex["data"] for vertex in fleet.get("/api/v1/graph")["nodes"]]
    (processor,) = [vertex for vertex in vertices if vertex["id"] == f"{node}/cpu0"]
    return processor["properties"]["architecture"]


def _node_of(holders: dict[int, dict[str, str]]) -> str | None:
    return holders[0]["node"] if 0 in holders else None

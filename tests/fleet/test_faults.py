"""What goes wrong around a fleet: brokers that die, words that nobody signed, garbage, workers that eat memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.topics import Topics
from fairlead_agent.messages import Workload
from fairlead_agent.messages.envelope import encode
from fairlead_agent.messages.signing import DesiredWorkload, sign
from tests.fleet.conftest import BROKERS, SHORT_TTL_S, TINY, Fleet, FleetMaker
from tests.patience import patient

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


async def publish(address: BrokerAddress, messages: list[tuple[str, bytes]], *, retain: bool = False) -> None:
    """Publish as the control plane would, which may write anywhere."""
    async with aiomqtt.Client(
        address.host,
        address.port,
        username=address.username,
        password=address.password,
        identifier=address.username,
        protocol=aiomqtt.ProtocolVersion.V311,
    ) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=1, retain=retain)


def say(fleet: Fleet, messages: list[tuple[str, bytes]], *, retain: bool = False) -> None:
    address = fleet.local.broker.address("intruder", control=True)
    fleet.run(publish(address, messages, retain=retain))


@pytest.fixture(scope="module")
def fleet(make_shared_fleet: FleetMaker) -> Fleet:
    """A fleet that words from outside reach, and that goes on as before."""
    return make_shared_fleet()


@pytest.mark.parametrize("broker", BROKERS)
def test_a_killed_broker_costs_nothing_that_was_acknowledged(make_fleet: FleetMaker, broker: str) -> None:
    fleet = make_fleet(broker)
    fleet.apply(**TINY, replicas=1)
    fleet.ready("tiny-chat")
    held = fleet.holders("tiny-chat")[0]
    process: Any = fleet.local.broker
    fleet.run(process.process.kill())
    # While the broker is away the gateway still reaches a node with an address, and takes new workloads.
    answer = fleet.apply(**{**TINY, "name": "second"}, replicas=1)
    assert answer["changed"]
    fleet.run(process.start())
    fleet.ready("second")
    fleet.ready("tiny-chat")
    now = fleet.holders("tiny-chat")[0]
    assert (now["node"], now["epoch"]) == (held["node"], held["epoch"]), "a short outage moves nothing"
    assert fleet.complete("tiny-chat").status_code == 200
    assert fleet.complete("second").status_code == 200


def test_desired_state_that_the_sites_key_did_not_sign_is_refused(fleet: Fleet) -> None:
    forged = Workload(name="forged", plugin="sparse_inference", config={"model": "tiny-drelu"})
    desired = DesiredWorkload(site="local", name="forged", generation=1, workload=forged)
    signed = sign(desired, Ed25519PrivateKey.generate())
    topic = Topics("local").desired("forged")
    say(fleet, [(topic, encode(signed, id="1", source="control-plane", time=0.0))], retain=True)

    def refused(node: str) -> bool:
        return any(line["event"] == "desired.refused" and line["workload"] == "forged" for line in fleet.log(node))

    for node in ("phone", "edge", "gpu"):
        fleet.until(lambda node=node: refused(node), f"{node} refuses it")
    # The fleet goes on with what is signed.
    fleet.apply(**TINY, replicas=1)
    fleet.ready("tiny-chat")
    assert all(not fleet.holders("forged") for _ in range(3))


def test_garbage_on_every_topic_changes_nothing(fleet: Fleet) -> None:
    fleet.apply(**{**TINY, "name": "steady"}, replicas=2)
    before = {slot["key"]["replica"]: slot["epoch"] for slot in fleet.ready("steady")["slots"]}
    topics = Topics("local")
    garbage = [
        b"",
        b"\xff\xfe\x00",
        b"{}",
        b"[" * 5000,
        b'{"specversion":"1.0","id":"1","source":"edge","type":"fairlead.9.call","time":0,"data":{}}',
        b'{"specversion":"1.0","id":"2","source":"edge","type":"fairlead.1.release","time":0,"data":{"epoch":-1}}',
        b"x" * 1_000_000,
    ]
    places = [
        topics.inbox("edge"),
        topics.inbox("authority"),
        topics.inbox("control-plane"),
        topics.call("edge"),
        topics.delta("phone"),
        topics.desired("steady"),
    ]
    say(fleet, [(place, payload) for place in places for payload in garbage])
    assert fleet.complete("steady").status_code == 200
    after = {slot["key"]["replica"]: slot["epoch"] for slot in fleet.ready("steady")["slots"]}
    assert after == before
    assert fleet.online() >= {"phone", "edge", "gpu", "control-plane"}


HUNGRY = """
import asyncio

class Worker:
    def application(self, context):
        held = []

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                return
            if scope["path"] == "/eat":
                while True:
                    held.append(bytearray(8 << 20))
                    for chunk in held[-1:]:
                        chunk[::4096] = b"x" * len(chunk[::4096])
                    await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"fed"})

        return app

worker = Worker()
"""

LIGHT = """
from fairlead_agent.plugin import Estimate, Quantiles, hookimpl

class Plugin:
    @hookimpl
    def estimate(self, workload, variant, facts):
        around = Quantiles.around
        return Estimate(latency_s=around(0.01, 0.1), throughput_per_s=around(10, 0.1),
                        memory_bytes={"dram": 96 << 20}, cores=0.2, startup_s=around(1, 0.5))

plugin = Plugin()
"""

MANIFEST = """
schema_version: 1
name: hungry
version: 0.1.0
summary: Eats memory when asked to
api: ">=1.0,<2"
light: hungry_light:plugin
worker: hungry_worker:worker
variants:
  - name: plain
    summary: the only one
"""


def write_plugin(folder: Path) -> Path:
    """A folder plugin that eats memory."""
    home = folder / "plugins" / "hungry"
    home.mkdir(parents=True)
    (home / "plugin.yaml").write_text(MANIFEST)
    (home / "hungry_light.py").write_text(LIGHT)
    (home / "hungry_worker.py").write_text(HUNGRY)
    return folder / "plugins"


def test_a_worker_that_exceeds_its_memory_costs_one_instance(
    make_fleet: FleetMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed and said to be; the agent lives, and the node's other workload never stops answering."""
    monkeypatch.setenv("FAIRLEAD_PLUGIN_PATH", str(write_plugin(tmp_path)))
    fleet = make_fleet(agents={"edge": "gpu-server"})
    agent = fleet.local.children["edge"].process
    assert agent is not None
    fleet.apply(**{**TINY, "config": {"model": "tiny-drelu", "threads": 1}}, replicas=1)
    fleet.ready("tiny-chat")
    fleet.apply(name="hungry", plugin="hungry", replicas=1)
    fleet.ready("hungry")
    assert fleet.http.get("/workloads/hungry/").text == "fed"
    with contextlib.suppress(Exception):
        # A POST: the gateway does not repeat it, and the next worker is not fed to death too.
        fleet.http.post("/workloads/hungry/eat", timeout=patient(60))

    def reported() -> bool:
        return any("memory" in line.get("why", "") for line in fleet.log("edge") if line["event"] == "worker.crashed")

    fleet.until(reported, "the agent says that the worker exceeded its memory")
    assert fleet.complete("tiny-chat").status_code == 200
    assert agent.returncode is None
    fleet.until(lambda: fleet.http.get("/workloads/hungry/").status_code == 200, "it serves again")


def test_an_agent_with_bad_settings_says_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"node": "Edge Box", "state_dir": "x", "site_keys": {}, "colour": "red"}')

    async def run() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead_agent.daemon", "--settings", str(path), stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        return process.returncode, said.decode()

    code, said = asyncio.run(run())
    assert code == 1
    assert said.count("\n") == 1
    assert str(path) in said
    assert "node" in said
    assert "colour" in said


def test_a_frozen_worker_is_replaced_and_never_heard_again(make_fleet: FleetMaker) -> None:
    """SIGSTOP past the lease's end, then SIGCONT: another node serves, and the old holder's word counts no more."""
    fleet = make_fleet(ttl_s=SHORT_TTL_S)
    fleet.apply(**TINY, replicas=1)
    before = fleet.ready("tiny-chat")["slots"][0]
    pids = fleet.worker_pids(before["node"])
    agent = fleet.local.children[before["node"]].process
    assert agent is not None
    frozen = [agent.pid, *pids]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        answer = fleet.complete("tiny-chat")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert answer.status_code == 200
    assert answer.headers["fairlead-node"] != before["node"]
    assert int(answer.headers["fairlead-epoch"]) > before["epoch"]
    for _ in range(5):
        again = fleet.complete("tiny-chat")
        assert again.status_code == 200
        assert int(again.headers["fairlead-epoch"]) > before["epoch"]

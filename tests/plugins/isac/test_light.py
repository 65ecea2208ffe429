"""The light module: what a node bids for a scheduler, and why it does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fairlead_agent.config import load_workloads
from fairlead_agent.plugin import Estimate, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_isac.light import plugin
from fairlead_isac.settings import read_settings

MIB = 2**20
SOFTWARE = {"isac_numpy": "found", "isac_radio": "found", "isac_soapy": "missing"}


def bid(variant: str = "simulated-radio", dram: int = 1024 * MIB, speed: float = 1.0, **config: Any) -> Any:
    facts = NodeFacts(
        node="edge",
        processor=ProcessorFacts(architecture="x86_64", cores=2, cores_free=2, speed_factor=speed),
        memory=(MemoryFacts(tier="dram", total_bytes=dram, free_bytes=dram),),
        software=SOFTWARE,
    )
    return plugin.estimate(Workload(name="isac", plugin="isac", config=config), variant, facts)


def test_a_wider_band_takes_longer_and_more_memory() -> None:
    narrow, wide = (bid(cell={"resource_blocks": blocks}) for blocks in (50, 200))
    assert isinstance(narrow, Estimate) and isinstance(wide, Estimate)
    assert wide.latency_s.p50 > narrow.latency_s.p50
    assert wide.memory_bytes["dram"] > narrow.memory_bytes["dram"]
    slow = bid(speed=0.5, cell={"resource_blocks": 200})
    assert slow.latency_s.p50 == pytest.approx(2 * wide.latency_s.p50)


def test_what_cannot_be_had_is_refused_with_what_it_takes() -> None:
    soapy = bid("soapy-radio", radio={"device": "driver=uhd"})
    assert isinstance(soapy, Refusal) and soapy.needs == "SoapySDR for Python"
    small = bid(dram=64 * MIB)
    assert isinstance(small, Refusal) and small.has == "64 MiB of dram"
    assert isinstance(bid(cell={"antennas": 0}), Refusal) and bid("other") is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"cel": {}}, "cel = {}: unknown; accepted: radio, cell, users"),
        ({"cell": {"antenna": 4}}, "cell.antenna = 4: unknown; accepted: name, antennas"),
        (
            {"cell": {"antennas": 9}, "radio": {"channels": 2}},
            "radio.channels = 2: accepted: a divisor of cell.antennas",
        ),
        ({"users": [{"name": "a"}, {"name": "a"}]}, "users: 'a' is there twice"),
        ({"sensing": {"minimum": 0.9, "maximum": 0.1}}, "accepted: at most sensing.maximum"),
        ({"radio": {"absences": [{"begin_s": 5, "end_s": 1}]}}, "end_s: accepted: later than begin_s"),
        ({"edge": {"backhaul_bits_per_s": 0}}, "edge.backhaul_bits_per_s = 0: Input should be greater than 0"),
        (
            {"edge": {"backhaul": 1e9}},
            "edge.backhaul = 1000000000.0: unknown; accepted: compute_cycles_per_s, backhaul",
        ),
        ({"sites": [{"name": "a", "backhaul_bits_per_s": -1}]}, "sites.0.backhaul_bits_per_s = -1"),
        ({"cell": {"power_watts": float("nan")}}, "cell.power_watts = nan"),
    ],
)
def test_a_bad_config_is_said_in_one_line(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        plugin.validate(config)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_shipped_workload_fits_an_edge_box() -> None:
    (workload,) = load_workloads("isac")
    settings = read_settings(workload.config)
    assert settings.users[0].peer == "gateway" and settings.cell.bandwidth_hz == pytest.approx(380.16e6)
    answer = bid(dram=512 * MIB, **workload.config)
    assert isinstance(answer, Estimate) and answer.memory_bytes["dram"] < 256 * MIB


def test_the_light_module_imports_no_numpy() -> None:
    code = "import sys, fairlead_isac.light; print([m for m in ('numpy', 'scipy', 'starlette') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"

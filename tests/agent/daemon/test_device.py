"""What workloads may use of a device, what plugins are told, and what the graph says."""

from __future__ import annotations

from pathlib import Path

from fairlead_agent.daemon.readings import DeviceReader, GpuReading, RadioReading
from fairlead_agent.graph import Edge, EdgeKind, Vertex, VertexKind
from fairlead_agent.graph.writer import ShardWriter
from fairlead_agent.placement.resources import Resources
from fairlead_bridge.radio.wifi import WifiSensor
from fairlead_bridge.roots import Roots
from tests.agent.daemon.devices import GIB, device

MIB = 1 << 20


def test_the_profiles_budget_caps_the_hardware() -> None:
    capacity = device({"budget": {"dram": "512 MiB", "cores": 1}}).capacity(Resources())
    assert capacity.tier("dram") == 512 * MIB
    assert capacity.cores == 1


def test_without_a_budget_the_hardware_less_the_reserve_counts() -> None:
    capacity = device({"policy": {"memory_reserve": "1 GiB"}}).capacity(Resources())
    assert capacity.tier("dram") == 5 * GIB
    assert capacity.cores == 4


def test_what_workloads_have_claimed_stays_capacity() -> None:
    """Memory that an instance uses is not available any more, and is workloads' all the same."""
    short = device(memory_available_bytes=GIB)
    assert short.capacity(Resources({"dram": 2 * GIB})).tier("dram") == 3 * GIB - 64 * MIB


def test_a_pretended_gpu_is_simulated_everywhere() -> None:
    pretending = device({"simulated": {"gpus": [{"memory": "24 GiB"}]}})
    facts = pretending.facts(pretending.capacity(Resources()))
    assert [gpu.simulated for gpu in facts.gpus] == [True]
    vram = facts.tier("vram")
    assert vram is not None
    assert vram.simulated
    vertices = {v.id: v for v in pretending.entries(Resources()) if isinstance(v, Vertex)}
    assert vertices["edge/gpu0"].simulated
    assert vertices["edge/gpu0-vram"].simulated
    assert not vertices["edge/dram"].simulated


def test_a_real_gpu_comes_before_a_pretended_one() -> None:
    both = device({"simulated": {"gpus": [{"memory": "24 GiB"}]}}, gpus=(GpuReading("real", 8 * GIB, GIB),))
    facts = both.facts(both.capacity(Resources()))
    assert [gpu.simulated for gpu in facts.gpus] == [False, True]
    vram = facts.tier("vram")
    assert vram is not None
    assert not vram.simulated


def test_a_low_battery_takes_nothing_new_unless_it_charges() -> None:
    low = {"simulated": {"battery": {"charge": 0.1}}}
    assert "battery at 10%" in device(low).refusal()
    assert device({"simulated": {"battery": {"charge": 0.1, "charging": True}}}).refusal() == ""
    assert "battery" in device(battery_charge=0.05).refusal()


def test_memory_pressure_takes_nothing_new() -> None:
    assert "memory pressure" in device(memory_pressure=0.9).refusal()
    assert device(memory_pressure=0.1).refusal() == ""


def test_everything_it_says_fits_the_graph() -> None:
    full = device(
        {
            "labels": {"tier": "edge"},
            "simulated": {
                "gpus": [{"memory": "8 GiB"}],
                "battery": {"charge": 0.5},
                "links": [{"peer": "gateway", "bandwidth": "10 Mbit/s", "latency": "20 ms"}],
                "speed_factor": 0.5,
            },
            "power": {"idle_watts": 1, "core_watts": 2},
        },
        temperature_celsius=50.0,
        thermal_headroom_celsius=30.0,
    )
    writer = ShardWriter("edge", 1)
    assert writer.put(*full.entries(full.capacity(Resources())))
    update = writer.flush()
    assert update is not None
    links = [e.value for e in update.entries if isinstance(e.value, Edge) and e.value.kind is EdgeKind.LINK]
    assert [(link.target, link.simulated) for link in links] == [("control-plane", True)]


def test_a_measured_link_takes_the_place_of_the_stated_one() -> None:
    from dataclasses import replace

    stated = device({"simulated": {"links": [{"peer": "gateway", "bandwidth": "10 Mbit/s", "latency": "20 ms"}]}})
    measured = replace(stated, measured_links={"gateway": {"bandwidth_bits_per_s": 1e6}})
    link = measured.links()[0]
    assert (link.bandwidth_bits_per_s, link.latency_s, link.simulated) == (1e6, 0.02, False)


def test_wifi_cards_are_radios_of_the_node() -> None:
    card = RadioReading("wlan0", "station", {"carrier_hz": 5.18e9, "bandwidth_bits_per_s": 6e6, "signal_dbm": -61.0})
    linked = device(radios=(card,))
    writer = ShardWriter("edge", 1)
    assert writer.put(*linked.entries(linked.capacity(Resources())))
    radio = writer.get("edge/wlan0")
    assert isinstance(radio, Vertex) and radio.kind is VertexKind.RADIO and radio.properties["mode"] == "station"
    assert radio.measured["signal_dbm"].value == -61.0


def test_a_kernel_without_wifi_is_asked_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def nobody(command: int, body: bytes) -> list[bytes]:
        asked.append(command)
        raise OSError("no such family")

    reader = DeviceReader(Roots(), tmp_path, lambda: 0.0, WifiSensor(nobody))
    assert reader.read().radios == reader.read().radios == ()
    assert len(asked) == 1

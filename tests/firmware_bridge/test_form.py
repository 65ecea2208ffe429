from __future__ import annotations

from fairlead_bridge.clock import Moment
from fairlead_bridge.form import to_json, to_table
from fairlead_bridge.inventory import read_inventory
from fairlead_bridge.memory import Memory
from fairlead_bridge.pressure import Pressure
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device

MEMORY = Memory(
    at=Moment(10.5, 1.8e9),
    total_bytes=8 * 2**30,
    available_bytes=Missing("/proc/meminfo MemAvailable", "no such line", "garbled"),
    free_bytes=0,
    swap_total_bytes=512,
    swap_free_bytes=100 * 2**20,
    pressure=Pressure(0.125, 0.0),
)


def test_json_keeps_numbers_and_says_what_is_missing_and_why() -> None:
    assert to_json(MEMORY) == {
        "at": {"boottime_s": 10.5, "wall_s": 1.8e9},
        "total_bytes": 8 * 2**30,
        "available_bytes": {
            "missing": "/proc/meminfo MemAvailable",
            "why": "no such line",
            "kind": "garbled",
        },
        "free_bytes": 0,
        "swap_total_bytes": 512,
        "swap_free_bytes": 100 * 2**20,
        "pressure": {"some_avg10_fraction": 0.125, "full_avg10_fraction": 0.0},
    }


def test_table_has_a_line_for_each_value_with_its_unit() -> None:
    rows = dict(line.split(None, 1) for line in to_table(MEMORY).splitlines())
    assert rows["total_bytes"] == "8192 MiB"
    assert rows["available_bytes"] == "- (/proc/meminfo MemAvailable: no such line)"
    assert rows["free_bytes"] == "0 B"
    assert rows["swap_total_bytes"] == "512 B"
    assert rows["pressure.some_avg10_fraction"] == "0.125"


def test_table_of_a_device_shows_units_a_person_reads(a_phone: Device) -> None:
    rows = dict(line.split(None, 1) for line in to_table(read_inventory(a_phone.roots)).splitlines())
    assert rows["processor.frequency_max_hz"] == "2840 MHz"
    assert rows["thermal.headroom_kelvin"] == "7 K"
    assert rows["power.on_battery"] == "yes"
    assert rows["power.supplies.0.temperature_celsius"] == "31.4 \u00b0C"
    assert rows["links.links.1.wireless.signal_dbm"] == "-56 dBm"
    assert rows["control_group.memory_limit_bytes"] == "1907 MiB"
    assert rows["gpus.gpus.0.frequency_max_hz"] == "608 MHz"

from __future__ import annotations

from fairlead_bridge.clock import Clock, ClockSensor, Moment
from fairlead_bridge.memory import Memory, MemorySensor
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import BOOT_ID, Device


def test_sizes_are_bytes_and_pressure_is_a_share(a_phone: Device) -> None:
    memory = MemorySensor(a_phone.roots).read(Moment(1.0, 2.0))
    assert isinstance(memory, Memory)
    assert memory.total_bytes == 7_800_000 * 1024
    assert memory.available_bytes == 3_900_000 * 1024
    assert memory.swap_free_bytes == 512 * 1024
    assert memory.pressure
    assert memory.pressure.some_avg10_fraction == 0.125
    assert memory.pressure.full_avg10_fraction == 0.0325


def test_kernel_without_pressure_files_still_tells_its_memory(a_phone: Device) -> None:
    (a_phone.root / "proc/pressure/memory").unlink()
    memory = MemorySensor(a_phone.roots).read()
    assert isinstance(memory, Memory)
    assert isinstance(memory.pressure, Missing) and memory.pressure.kind == "absent"
    assert memory.total_bytes


def test_a_missing_line_is_missing_alone(a_phone: Device) -> None:
    a_phone.write({"proc/meminfo": "MemTotal: 100 kB\nMemAvailable: " + "9" * 40 + " kB"})
    memory = MemorySensor(a_phone.roots).read()
    assert isinstance(memory, Memory)
    assert memory.total_bytes == 102_400
    assert isinstance(memory.available_bytes, Missing)


def test_pressure_above_one_hundred_percent_is_not_believed(a_phone: Device) -> None:
    a_phone.write({"proc/pressure/memory": "some avg10=900.00 avg60=0 avg300=0 total=0"})
    memory = MemorySensor(a_phone.roots).read()
    assert isinstance(memory, Memory)
    assert isinstance(memory.pressure, Missing) and memory.pressure.kind == "garbled"


def test_boot_id_is_checked(a_phone: Device) -> None:
    assert ClockSensor(a_phone.roots).boot_id() == BOOT_ID
    a_phone.write({"proc/sys/kernel/random/boot_id": "not an id"})
    assert isinstance(ClockSensor(a_phone.roots).boot_id(), Missing)


def test_real_clock_orders_moments() -> None:
    first, second = ClockSensor().read(), ClockSensor().read()
    assert isinstance(first, Clock)
    assert second.at.boottime_s >= first.at.boottime_s
    assert first.boot_id == second.boot_id
    assert first.boottime_uncertainty_s > 0

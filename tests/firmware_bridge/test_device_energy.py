"""What the whole device used, on fake trees of an edge box, a server and a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_bridge.clock import Moment
from fairlead_bridge.device_energy import DeviceEnergySensor, EnergyReading, device_energy_between_joules
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device

BATTERY = "sys/class/power_supply/battery"
PACKAGE = "sys/class/powercap/intel-rapl:0"


def read(device: Device, boottime_s: float = 0.0) -> EnergyReading:
    reading = DeviceEnergySensor(device.roots).read(Moment(boottime_s, 1e9))
    assert isinstance(reading, EnergyReading), reading
    return reading


def missing(device: Device) -> Missing:
    reading = DeviceEnergySensor(device.roots).read(Moment(0.0, 1e9))
    assert isinstance(reading, Missing)
    return reading


def test_a_package_that_wraps_is_counted_on(an_edge_box: Device) -> None:
    before = read(an_edge_box, 10.0)
    an_edge_box.write({"energy_uj": 6_671_150}, under=PACKAGE)
    assert device_energy_between_joules(before, read(an_edge_box, 40.0)) == pytest.approx(150.0)
    assert before.source == "rapl"


def test_packages_and_their_memory_add_up_and_parts_of_them_do_not(a_server: Device) -> None:
    for zone, domain in (("0:1", "core"), ("2", "psys")):
        files: dict[str, str | int] = {"name": domain, "energy_uj": 5, "max_energy_range_uj": 262_143_328_850}
        a_server.write(files, under=f"sys/class/powercap/intel-rapl:{zone}")
    before = read(a_server, 0.0)
    assert [counter.domain for counter in before.counters] == ["package-0", "dram", "package-1", "dram"]
    for zone, joules in (("0", 50), ("0:0", 4), ("1", 30), ("0:1", 40), ("2", 200)):
        a_server.write({"energy_uj": 1_000_000 * (joules + 1)}, under=f"sys/class/powercap/intel-rapl:{zone}")
    assert device_energy_between_joules(before, read(a_server, 1.0)) == pytest.approx(50 + 4.5 + 30)


def test_a_battery_gives_the_mean_of_its_power(a_phone: Device) -> None:
    before = read(a_phone, 0.0)
    a_phone.write({"current_now": -900_000}, under=BATTERY)
    after = read(a_phone, 2.0)
    assert (before.source, after.source) == ("battery", "battery")
    assert device_energy_between_joules(before, after) == pytest.approx(2 * 3.85 * (0.45 + 0.9) / 2)
    late = device_energy_between_joules(before, read(a_phone, 900.0))
    assert isinstance(late, Missing) and "900 s" in late.why


def test_a_battery_that_charges_is_no_source(a_phone: Device) -> None:
    a_phone.write({"status": "Charging"}, under=BATTERY)
    assert "no battery that discharges" in missing(a_phone).why


def test_monitors_stand_in_for_powercap(a_phone: Device) -> None:
    monitor = "sys/class/hwmon/hwmon3"
    a_phone.write({"name": "scmi_sensors", "energy1_input": 7_000_000, "energy2_input": 1_000_000}, under=monitor)
    a_phone.write({"name": "i915", "energy1_input": 1}, under="sys/class/hwmon/hwmon4")
    before = read(a_phone, 0.0)
    assert before.source == "hwmon" and len(before.counters) == 2
    a_phone.write({"energy1_input": 9_000_000, "energy2_input": 1_500_000}, under=monitor)
    assert device_energy_between_joules(before, read(a_phone, 1.0)) == pytest.approx(2.5)


def test_sockets_hold_their_cores(a_phone: Device) -> None:
    labels = {"energy1_label": "Ecore000", "energy2_label": "Ecore001", "energy3_label": "Esocket0"}
    values = {f"energy{number}_input": 1_000_000 * number for number in (1, 2, 3)}
    a_phone.write({"name": "amd_energy", **labels, **values}, under="sys/class/hwmon/hwmon1")
    assert [counter.domain for counter in read(a_phone).counters] == ["Esocket0"]


def test_another_source_in_between_is_no_difference(a_phone: Device) -> None:
    before = read(a_phone, 0.0)
    a_phone.write({"energy1_input": 5}, under="sys/class/hwmon/hwmon1")
    assert isinstance(device_energy_between_joules(before, read(a_phone, 1.0)), Missing)


@pytest.mark.usefixtures("an_unprivileged_user")
def test_one_counter_that_may_not_be_read_is_named_and_the_others_are_no_sum(an_open_server: Device) -> None:
    reason = missing(an_open_server)
    assert reason.kind == "denied"
    assert reason.what == "/sys/class/powercap/intel-rapl:0/energy_uj"


def test_a_garbled_counter_is_named(an_edge_box: Device) -> None:
    an_edge_box.write({"energy_uj": "lots"}, under=PACKAGE)
    assert "energy_uj: expected an integer, found 'lots'" in str(missing(an_edge_box))


def test_a_device_without_any_source_says_so(tmp_path: Path) -> None:
    reason = missing(Device(tmp_path / "bare"))
    assert reason.kind == "absent" and "/sys/class/powercap" in reason.why

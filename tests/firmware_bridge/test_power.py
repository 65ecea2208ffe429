from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.clock import Moment
from fairlead_bridge.energy import EnergyCounter, EnergyMeter, energy_between_joules
from fairlead_bridge.power import Power, PowerSensor
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device

RANGE_JOULES = 262_143.0


def read(device: Device, boottime_s: float = 0.0) -> Power:
    power = PowerSensor(device.roots).read(Moment(boottime_s, 1e9))
    assert isinstance(power, Power), power
    return power


def counter(energy_joules: float | Missing, boottime_s: float, zone: str = "intel-rapl:0") -> EnergyCounter:
    return EnergyCounter(Moment(boottime_s, 0.0), zone, "package-0", energy_joules, RANGE_JOULES, 200.0)


def test_a_battery_in_microampere_hours(a_phone: Device) -> None:
    power = read(a_phone)
    battery = power.supplies[0]
    assert power.on_battery is True
    assert power.battery_fraction == 0.57
    assert battery.charge_uncertainty_fraction == 0.005
    assert battery.energy_now_joules == pytest.approx(2.28 * 3600 * 3.85)
    assert battery.power_watts == pytest.approx(0.45 * 3.85)
    assert power.power_watts == battery.power_watts
    assert battery.temperature_celsius == 31.4


def test_a_charging_battery_is_no_drain(a_phone: Device) -> None:
    a_phone.write({"sys/class/power_supply/battery/status": "Charging"})
    power = read(a_phone)
    assert power.on_battery is False
    assert isinstance(power.power_watts, Missing)


def test_a_battery_that_hides_its_status_is_judged_by_the_other_supplies(a_phone: Device) -> None:
    (a_phone.root / "sys/class/power_supply/battery/status").unlink()
    assert read(a_phone).on_battery is True
    a_phone.write({"sys/class/power_supply/usb/online": 1})
    assert read(a_phone).on_battery is False


def test_a_mouse_is_not_this_devices_battery(a_server: Device) -> None:
    a_server.write(
        {"type": "Battery", "scope": "Device", "status": "Discharging", "capacity": 3},
        under="sys/class/power_supply/mouse",
    )
    power = read(a_server)
    assert power.on_battery is False
    assert isinstance(power.battery_fraction, Missing)
    assert power.supplies[0].peripheral


def test_counters_of_packages_and_memory_but_not_their_mirror(a_server: Device) -> None:
    assert [(each.zone, each.domain) for each in read(a_server).counters] == [
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "dram"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:1:0", "dram"),
    ]


def test_a_counter_in_files_wraps_around(an_edge_box: Device) -> None:
    before = read(an_edge_box, 10.0).counters[0]
    an_edge_box.write({"sys/class/powercap/intel-rapl:0/energy_uj": 6_671_150})
    after = read(an_edge_box, 40.0).counters[0]
    assert energy_between_joules(before, after) == pytest.approx(150.0)


@settings(derandomize=True)
@given(st.lists(st.floats(0.0, 150.0), min_size=1, max_size=60), st.floats(0.0, RANGE_JOULES - 1))
def test_a_meter_adds_up_over_any_number_of_wraps(powers_watts: list[float], start: float) -> None:
    meter = EnergyMeter()
    true_joules = start
    meter.update(counter(start, 0.0))
    for index, watts in enumerate(powers_watts, 1):
        true_joules += watts * 600.0
        meter.update(counter(true_joules % RANGE_JOULES, index * 600.0))
    assert meter.gaps == 0
    assert meter.total_joules == pytest.approx(true_joules - start, rel=1e-6, abs=1e-3)


def test_two_wraps_cannot_be_told_from_one() -> None:
    used = energy_between_joules(counter(100.0, 0.0), counter(200.0, 3600.0))
    assert isinstance(used, Missing)
    assert "more than once" in used.why


def test_a_reset_is_not_taken_for_a_wrap() -> None:
    used = energy_between_joules(counter(200_000.0, 0.0), counter(10.0, 1.0))
    assert isinstance(used, Missing) and used.kind == "garbled"


def test_a_gap_is_counted_and_the_total_stays() -> None:
    meter = EnergyMeter()
    for energy, time_s in (
        (0.0, 0.0),
        (100.0, 1.0),
        (Missing("x", "denied", "denied"), 2.0),
        (300.0, 3.0),
        (350.0, 4.0),
    ):
        meter.update(counter(energy, time_s))
    assert (meter.total_joules, meter.gaps) == (150.0, 2)


@pytest.mark.parametrize("other", [counter(5.0, -1.0), counter(5.0, 1.0, zone="intel-rapl:1")])
def test_readings_of_another_counter_or_order_are_refused(other: EnergyCounter) -> None:
    assert isinstance(energy_between_joules(counter(1.0, 0.0), other), Missing)

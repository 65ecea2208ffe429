from __future__ import annotations

import pytest

from fairlead_bridge.reading import Missing
from fairlead_bridge.thermal import Thermal, ThermalSensor
from tests.firmware_bridge.trees import Device


def read(device: Device) -> Thermal:
    thermal = ThermalSensor(device.roots).read()
    assert isinstance(thermal, Thermal), thermal
    return thermal


def test_headroom_is_to_the_first_throttling_point_of_the_tightest_zone(a_phone: Device) -> None:
    thermal = read(a_phone)
    assert thermal.temperature_celsius == 41.5
    assert thermal.zones[0].headroom_kelvin == 53.5
    assert thermal.headroom_kelvin == 7.0
    assert thermal.cooling[0].state == 2


def test_a_sensor_that_is_off_is_missing_and_the_others_are_not(a_phone: Device) -> None:
    modem = read(a_phone).zones[1]
    assert modem.kind == "modem"
    assert isinstance(modem.temperature_celsius, Missing)
    assert isinstance(modem.headroom_kelvin, Missing)


def test_a_server_without_zones_has_hardware_monitors(an_edge_box: Device) -> None:
    thermal = read(an_edge_box)
    assert thermal.zones[0].kind == "coretemp Package id 0"
    assert thermal.headroom_kelvin == 35.0


def test_a_monitor_of_a_thermal_zone_is_not_counted_twice(a_phone: Device) -> None:
    a_phone.write({"name": "skin", "temp1_input": 36_000}, under="sys/class/hwmon/hwmon0")
    a_phone.link("sys/class/hwmon/hwmon0/device", "sys/class/thermal/thermal_zone2")
    assert len(read(a_phone).zones) == 3


@pytest.mark.parametrize("text", ["", "hot", "-", "999999999999", "41.5"])
def test_garbage_is_missing_with_the_file_named(a_phone: Device, text: str) -> None:
    a_phone.write({"sys/class/thermal/thermal_zone0/temp": text})
    temperature = read(a_phone).zones[0].temperature_celsius
    assert isinstance(temperature, Missing)
    assert temperature.what == "/sys/class/thermal/thermal_zone0/temp"


def test_a_zone_already_too_hot_has_negative_headroom(a_phone: Device) -> None:
    a_phone.write({"sys/class/thermal/thermal_zone0/temp": 97_000})
    assert read(a_phone).headroom_kelvin == -2.0


def test_trip_points_at_zero_are_none(a_phone: Device) -> None:
    a_phone.write({"sys/class/thermal/thermal_zone2/trip_point_0_temp": 0})
    assert isinstance(read(a_phone).zones[2].headroom_kelvin, Missing)


def test_no_sensor_at_all(a_server: Device) -> None:
    assert isinstance(ThermalSensor(a_server.roots).read(), Missing)

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.netlink import attribute
from fairlead_bridge.radio.wifi import (
    Station,
    Wifi,
    WifiSensor,
    generic_family,
    open_generic,
    parse_interface,
    parse_station,
    radio_facts,
)
from fairlead_bridge.reading import Missing

U32 = struct.Struct("=I")
#: As an access point's station tells: 866.7 Mbit/s out (only the field of 32 bits), 6 Mbit/s in, -61 dBm.
STATION = (
    attribute(3, U32.pack(4))
    + attribute(6, bytes.fromhex("020000000007"))
    + attribute(
        21 | 0x8000,
        attribute(7, struct.pack("=b", -60))
        + attribute(13, struct.pack("=b", -61))
        + attribute(8 | 0x8000, attribute(1, struct.pack("=H", 0)) + attribute(5, U32.pack(8667)))
        + attribute(14 | 0x8000, attribute(1, struct.pack("=H", 60)))
        + attribute(11, U32.pack(70))
        + attribute(12, U32.pack(3))
        + attribute(16, U32.pack(3600)),
    )
)
INTERFACE = (
    attribute(3, U32.pack(4))
    + attribute(4, b"wlan0\0")
    + attribute(5, U32.pack(2))
    + attribute(38, U32.pack(5180))
    + attribute(159, U32.pack(3))
    + attribute(98, U32.pack(2200))
    + attribute(52, "café".encode())
)
P2P_DEVICE = attribute(5, U32.pack(10)) + attribute(6, bytes(6))


def a_card(command: int, body: bytes) -> list[bytes]:
    return [P2P_DEVICE, INTERFACE] if command == 5 else [STATION]


def test_a_card_and_its_access_point() -> None:
    wifi = WifiSensor(a_card).read()
    assert isinstance(wifi, Wifi)
    (interface,) = wifi.interfaces
    assert (interface.name, interface.index, interface.mode, interface.network) == ("wlan0", 4, "station", "café")
    assert (interface.carrier_hz, interface.channel_hz) == (5_180_000_000, 80_000_000)
    assert interface.transmit_power_dbm == 22.0
    (station,) = interface.stations or ()
    assert station.hardware_address == "02:00:00:00:00:07" and station.signal_dbm == -61
    assert (station.transmit_bits_per_s, station.receive_bits_per_s) == (866_700_000, 6_000_000)
    assert (station.retries, station.failed, station.connected_s) == (70, 3, 3600)
    assert isinstance(station.expected_bits_per_s, Missing)


def test_a_card_becomes_facts_of_a_radio() -> None:
    wifi = WifiSensor(a_card).read()
    assert wifi
    assert radio_facts(wifi.interfaces[0]) == {
        "carrier_hz": 5.18e9,
        "channel_hz": 80e6,
        "bandwidth_bits_per_s": 866.7e6,
        "signal_dbm": -61.0,
    }


def test_a_driver_that_refuses_costs_only_the_stations() -> None:
    def refusing(command: int, body: bytes) -> list[bytes]:
        if command == 5:
            return [INTERFACE]
        raise OSError(95, "Operation not supported")

    wifi = WifiSensor(refusing).read()
    assert wifi
    assert isinstance(wifi.interfaces[0].stations, Missing)
    assert radio_facts(wifi.interfaces[0]) == {"carrier_hz": 5.18e9, "channel_hz": 80e6}


def test_an_unknown_width_is_missing_and_says_so() -> None:
    interface = parse_interface(INTERFACE + attribute(159, U32.pack(77)), ())
    assert interface and isinstance(interface.channel_hz, Missing) and "77" in interface.channel_hz.why


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=120), st.integers(0, len(STATION)))
def test_any_bytes_are_a_record_or_nothing(data: bytes, cut: int) -> None:
    for body in (data, STATION[:cut] + data, INTERFACE[:cut] + data):
        assert parse_station(body) is None or isinstance(parse_station(body), Station)
        parse_interface(body, ())


def test_this_kernel_answers_or_lacks_it() -> None:
    wifi = WifiSensor().read()
    assert isinstance(wifi, Wifi) or (wifi.kind in ("absent", "denied", "failed") and wifi.why)


def test_a_family_that_every_kernel_has_is_found() -> None:
    try:
        channel = open_generic()
    except OSError as error:
        pytest.skip(f"no generic netlink here: {error}")
    with channel:
        assert generic_family(channel, "nlctrl") == 16
        assert "no generic netlink family" in str(generic_family(channel, "nothing"))

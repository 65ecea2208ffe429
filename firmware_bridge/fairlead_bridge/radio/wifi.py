"""What the kernel knows of its Wi-Fi cards and of the stations that they talk to, by nl80211.

Layouts and numbers of linux/genetlink.h and linux/nl80211.h. It needs no privilege and no library.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.netlink import REQUEST_DUMP, attribute, attributes_of, dump
from fairlead_bridge.reading import Missing, attempt, is_known

_GENERIC, _CONTROLLER = 16, 16
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_GET_INTERFACE, _GET_STATION = 5, 17
_INDEX, _NAME, _MODE, _ADDRESS, _STATION, _FREQUENCY, _NETWORK, _POWER, _WIDTH = 3, 4, 5, 6, 21, 38, 52, 98, 159
_SIGNAL, _SIGNAL_MEAN, _SENT_RATE, _RECEIVED_RATE, _RETRIES, _FAILED, _CONNECTED, _EXPECTED = (
    7,
    13,
    8,
    14,
    11,
    12,
    16,
    27,
)
_RATE, _RATE_32 = 1, 5
_COMMAND = struct.Struct("=BBxx")
_MODES = (
    "unspecified",
    "ad hoc",
    "station",
    "access point",
    "access point vlan",
    "wds",
    "monitor",
    "mesh point",
    "p2p client",
    "p2p owner",
    "p2p device",
    "ocb",
    "nan",
)
_WIDTHS_MHZ = (20, 20, 40, 80, 160, 160, 5, 10, 1, 2, 4, 8, 16, 320)

#: ``ask(command, attributes)``: the bodies of all answers, without their generic headers.
Ask = Callable[[int, bytes], "list[bytes]"]


@dataclass(frozen=True, slots=True)
class Station:
    """Who is at the other end: an access point, or a station of ours. Rates are of the last packets' modulation."""

    hardware_address: str
    signal_dbm: int | Missing
    transmit_bits_per_s: int | Missing
    receive_bits_per_s: int | Missing
    expected_bits_per_s: int | Missing
    retries: int | Missing
    failed: int | Missing
    connected_s: int | Missing


@dataclass(frozen=True, slots=True)
class WifiInterface:
    """One interface of a card; ``stations`` is missing where the driver does not tell."""

    name: str
    index: int
    mode: str
    carrier_hz: int | Missing
    channel_hz: int | Missing
    transmit_power_dbm: float | Missing
    network: str | Missing
    stations: tuple[Station, ...] | Missing


@dataclass(frozen=True, slots=True)
class Wifi:
    """All interfaces at one time."""

    at: Moment
    interfaces: tuple[WifiInterface, ...]


class WifiSensor:
    """Asks the kernel over generic netlink; ``ask`` takes its place in tests."""

    def __init__(self, ask: Ask | None = None) -> None:
        self._ask = ask

    def read(self, at: Moment | None = None) -> Wifi | Missing:
        """All Wi-Fi interfaces; missing where the kernel has no nl80211."""
        return attempt("nl80211", lambda: self._read(at or now()))

    def _read(self, at: Moment) -> Wifi | Missing:
        if self._ask is not None:
            return Wifi(at, tuple(_interfaces(self._ask)))
        with open_generic() as channel:
            family = generic_family(channel, "nl80211")
            if isinstance(family, Missing):
                return family
            return Wifi(at, tuple(_interfaces(lambda command, body: _dump(channel, family, command, body))))


def radio_facts(interface: WifiInterface) -> dict[str, float]:
    """An interface in the words of the resource graph's radios; what is not known is left out.

    Of several stations the slowest link counts: it is what a packet to an unknown one of them can rely on.
    """
    facts: dict[str, float] = {}
    for name, value in (("carrier_hz", interface.carrier_hz), ("channel_hz", interface.channel_hz)):
        if is_known(value):
            facts[name] = float(value)
    stations = interface.stations or ()
    rates = [rate for station in stations for rate in (_best_rate(station),) if is_known(rate)]
    signals = [station.signal_dbm for station in stations if is_known(station.signal_dbm)]
    if rates:
        facts["bandwidth_bits_per_s"] = float(min(rates))
    if signals:
        facts["signal_dbm"] = float(min(signals))
    return facts


def parse_interface(body: bytes, stations: tuple[Station, ...] | Missing) -> WifiInterface | None:
    """An answer's attributes as an interface; None for a card's part without one (a P2P device)."""
    found = attributes_of(body)
    index = _number(found, _INDEX, "interface index")
    name = found.get(_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    if isinstance(index, Missing) or not name:
        return None
    mode = _number(found, _MODE, "mode")
    width = _number(found, _WIDTH, "channel width")
    frequency = _number(found, _FREQUENCY, "frequency")
    power = _number(found, _POWER, "transmit power", signed=True)
    network = found.get(_NETWORK)
    return WifiInterface(
        name=name,
        index=index,
        mode=_MODES[mode] if is_known(mode) and mode < len(_MODES) else "unspecified",
        carrier_hz=frequency if isinstance(frequency, Missing) else frequency * 1_000_000,
        channel_hz=_width_hz(width),
        transmit_power_dbm=power if isinstance(power, Missing) else power / 100,
        network=Missing("network", "the interface is in none")
        if network is None
        else network.decode("utf-8", "replace"),
        stations=stations,
    )


def parse_station(body: bytes) -> Station | None:
    """An answer's attributes as a station; None without an address."""
    found = attributes_of(body)
    address = found.get(_ADDRESS, b"")
    if len(address) != 6:
        return None
    told = attributes_of(found.get(_STATION, b""))
    signal = _number(told, _SIGNAL_MEAN, "signal", signed=True)
    expected = _number(told, _EXPECTED, "expected throughput")
    return Station(
        hardware_address=address.hex(":"),
        signal_dbm=signal if is_known(signal) else _number(told, _SIGNAL, "signal", signed=True),
        transmit_bits_per_s=_rate(told.get(_SENT_RATE), "rate of sending"),
        receive_bits_per_s=_rate(told.get(_RECEIVED_RATE), "rate of receiving"),
        expected_bits_per_s=expected if isinstance(expected, Missing) else expected * 1000,
        retries=_number(told, _RETRIES, "retries"),
        failed=_number(told, _FAILED, "failed packets"),
        connected_s=_number(told, _CONNECTED, "time of connection"),
    )


def _interfaces(ask: Ask) -> Iterator[WifiInterface]:
    for body in ask(_GET_INTERFACE, b""):
        index = attributes_of(body).get(_INDEX, b"")
        stations = attempt("stations", lambda index=index: _stations(ask, index))
        interface = parse_interface(body, stations)
        if interface is not None:
            yield interface


def _stations(ask: Ask, index: bytes) -> tuple[Station, ...]:
    found = (parse_station(body) for body in ask(_GET_STATION, attribute(_INDEX, index)))
    return tuple(station for station in found if station is not None)


def open_generic(timeout_s: float = 2.0) -> socket.socket:
    """A generic netlink socket; OSError where the system forbids it."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _GENERIC)
    channel.settimeout(timeout_s)
    channel.bind((0, 0))
    return channel


def generic_family(channel: socket.socket, name: str) -> int | Missing:
    """The number that the kernel gave to a generic netlink family; missing where it has none of this name."""
    try:
        answers = _dump(channel, _CONTROLLER, _GET_FAMILY, attribute(_FAMILY_NAME, name.encode() + b"\0"), flags=1 | 4)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Missing(name, f"this kernel has no generic netlink family {name}")
        raise
    number = next((attributes_of(body).get(_FAMILY_ID, b"") for body in answers), b"")
    if len(number) != 2:
        return Missing(name, "the kernel answered without its number", "garbled")
    return struct.unpack("=H", number)[0]


def _dump(channel: socket.socket, family: int, command: int, body: bytes, flags: int = REQUEST_DUMP) -> list[bytes]:
    answers = dump(channel, family, _COMMAND.pack(command, 0) + body, flags)
    return [content[_COMMAND.size :] for kind, content in answers if kind == family]


def _best_rate(station: Station) -> int | Missing:
    return station.expected_bits_per_s if is_known(station.expected_bits_per_s) else station.transmit_bits_per_s


def _rate(nested: bytes | None, what: str) -> int | Missing:
    """In units of 100 kbit/s; the field of 16 bits is too small for fast cards, so that the other one goes first."""
    found = attributes_of(nested or b"")
    for kind in (_RATE_32, _RATE):
        value = _number(found, kind, what)
        if is_known(value) and value:
            return value * 100_000
    return Missing(what, "the driver does not tell it")


def _width_hz(width: int | Missing) -> int | Missing:
    if isinstance(width, Missing):
        return width
    if width >= len(_WIDTHS_MHZ):
        return Missing("channel width", f"the kernel's number {width} is not known here", "garbled")
    return _WIDTHS_MHZ[width] * 1_000_000


def _number(found: dict[int, bytes], kind: int, what: str, *, signed: bool = False) -> int | Missing:
    data = found.get(kind)
    if data is None:
        return Missing(what, "the driver does not tell it")
    if len(data) not in (1, 2, 4, 8):
        return Missing(what, f"{len(data)} bytes where a number is expected", "garbled")
    return int.from_bytes(data, sys.byteorder, signed=signed)

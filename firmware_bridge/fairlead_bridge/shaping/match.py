"""Which packets belong to a class, as keys of the u32 classifier.

A key compares bits of one 32-bit word of a packet, counted from its network header (RFC 791, RFC 8200). Ports lie
behind a header without options and in first fragments only, so the keys of a port ask for that too: what they do
not match goes to the default class.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fairlead_bridge.shaping.errors import PlanError

ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ALL = 0x0800, 0x86DD, 0x0003
Transport = Literal["tcp", "udp", "icmp"]
Family = Literal[4, 6]

_NUMBERS: dict[tuple[str, int], int] = {
    ("tcp", 4): 6,
    ("tcp", 6): 6,
    ("udp", 4): 17,
    ("udp", 6): 17,
    ("icmp", 4): 1,
    ("icmp", 6): 58,
}


@dataclass(frozen=True, slots=True)
class Key:
    """``packet[offset:offset + 4] & mask == value``, big endian; ``offset`` is a multiple of four."""

    offset: int
    value: int
    mask: int

    def matches(self, packet: bytes) -> bool:
        """Whether a packet (from its network header on) has these bits; one that is too short has not."""
        word = packet[self.offset : self.offset + 4]
        return len(word) == 4 and int.from_bytes(word, "big") & self.mask == self.value


@dataclass(frozen=True, slots=True)
class Selector:
    """All keys must match a packet of this protocol."""

    ethertype: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Packets that have all that is stated here; what is None is not looked at.

    ``source`` and ``destination`` are networks (``192.0.2.0/24``, ``2001:db8::/32``) or single addresses of one
    family. A port without ``transport`` is one of TCP or of UDP. ``dscp`` is the code point, 0 to 63 (RFC 2474).
    """

    source: str | None = None
    destination: str | None = None
    transport: Transport | None = None
    source_port: int | None = None
    destination_port: int | None = None
    dscp: int | None = None

    def validate(self, field: str) -> None:
        """Hold the match to what packets can have.

        Raises:
            PlanError: a value is out of range, or the values contradict each other.
        """
        if self == Match():
            raise PlanError(field, "nothing", "at least one of source, destination, transport, a port, dscp")
        for name in ("source", "destination"):
            _network(getattr(self, name), f"{field}.{name}")
        if len(self.families()) == 0:
            raise PlanError(f"{field}.destination", self.destination, f"a network of the family of {self.source}")
        if self.transport not in (None, "tcp", "udp", "icmp"):
            raise PlanError(f"{field}.transport", self.transport, "tcp, udp, icmp")
        for name, highest in (("source_port", 65535), ("destination_port", 65535), ("dscp", 63)):
            _within(getattr(self, name), highest, f"{field}.{name}")
        if self.transport == "icmp" and self.has_port:
            raise PlanError(f"{field}.transport", self.transport, "tcp or udp beside a port")

    @property
    def has_port(self) -> bool:
        return self.source_port is not None or self.destination_port is not None

    def families(self) -> tuple[Family, ...]:
        """The versions of IP that can match."""
        found: set[Family] = {4, 6}
        for text in (self.source, self.destination):
            if text is not None:
                found &= {ipaddress.ip_network(text, strict=False).version}
        return tuple(sorted(found))

    def selectors(self) -> Iterator[Selector]:
        """The match as alternatives: one for each version of IP and transport protocol."""
        transports = ("tcp", "udp") if self.has_port and self.transport is None else (self.transport,)
        for family in self.families():
            for transport in transports:
                words = _Words()
                self._network_header(words, family)
                if transport is not None:
                    words.set(8 if family == 4 else 4, *_transport(family, _NUMBERS[transport, family]))
                if self.has_port:
                    self._ports(words, family)
                yield Selector(ETHERTYPE_IPV4 if family == 4 else ETHERTYPE_IPV6, words.keys())

    def _network_header(self, words: _Words, family: Family) -> None:
        if self.dscp is not None:
            shift = 18 if family == 4 else 22
            words.set(0, self.dscp << shift, 63 << shift)
        for text, offset in ((self.source, 12 if family == 4 else 8), (self.destination, 16 if family == 4 else 24)):
            if text is not None:
                network = ipaddress.ip_network(text, strict=False)
                words.set_bytes(offset, network.network_address.packed, network.netmask.packed)

    def _ports(self, words: _Words, family: Family) -> None:
        if family == 4:
            words.set(0, 5 << 24, 15 << 24)
            words.set(4, 0, 0x1FFF)
        start = 20 if family == 4 else 40
        if self.source_port is not None:
            words.set(start, self.source_port << 16, 0xFFFF0000)
        if self.destination_port is not None:
            words.set(start, self.destination_port, 0xFFFF)


@lru_cache(maxsize=256)
def selectors(match: Match) -> tuple[Selector, ...]:
    """The alternatives of a match; kept, because plans come again with the same ones."""
    return tuple(match.selectors())


#: Every packet, whatever its protocol.
EVERYTHING = Selector(ETHERTYPE_ALL, ())


class _Words:
    """Bits to compare, gathered by 32-bit word."""

    def __init__(self) -> None:
        self._words: dict[int, tuple[int, int]] = {}

    def set(self, offset: int, value: int, mask: int) -> None:
        old_value, old_mask = self._words.get(offset, (0, 0))
        self._words[offset] = (old_value | value, old_mask | mask)

    def set_bytes(self, offset: int, value: bytes, mask: bytes) -> None:
        for start in range(0, len(value), 4):
            word, bits = (int.from_bytes(data[start : start + 4], "big") for data in (value, mask))
            if bits:
                self.set(offset + start, word, bits)

    def keys(self) -> tuple[Key, ...]:
        return tuple(Key(offset, *self._words[offset]) for offset in sorted(self._words))


def _transport(family: Family, number: int) -> tuple[int, int]:
    """The protocol's byte in its word: byte 9 of IPv4, byte 6 (next header) of IPv6."""
    shift = 16 if family == 4 else 8
    return number << shift, 255 << shift


def _network(text: str | None, field: str) -> None:
    if text is None:
        return
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise PlanError(field, text, "an address or a network such as 192.0.2.0/24 or 2001:db8::/32") from error


def _within(value: int | None, highest: int, field: str) -> None:
    if value is not None and not (isinstance(value, int) and 0 <= value <= highest):  # pyright: ignore
        raise PlanError(field, value, f"an integer in 0..{highest}")

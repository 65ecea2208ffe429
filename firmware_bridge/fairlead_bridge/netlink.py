"""rtnetlink messages about links and addresses, straight from the kernel's socket.

The layouts are those of linux/netlink.h, linux/rtnetlink.h and linux/if_link.h. pyroute2 speaks them too, but
importing any part of it costs some 14 MiB resident, a third of an idle agent; these are the two messages we use.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

RTMGRP_LINK, RTMGRP_IPV4_ADDRESS, RTMGRP_IPV6_ADDRESS = 0x1, 0x10, 0x100
NEW_LINK, DELETE_LINK, NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 16, 17, 20, 21, 22
RECEIVE_BYTES = 65536

_ERROR, _DONE = 2, 3
REQUEST_DUMP = 0x1 | 0x300
_REQUEST_ACKNOWLEDGED = 0x1 | 0x4
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, changed flags
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_OPERSTATE = 1, 3, 4, 16
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_RUNNING = 0x40
_STATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def request(channel: socket.socket, kind: int, body: bytes, sequence: int = 1) -> None:
    """Ask for a change and wait until it is in force.

    Raises:
        OSError: the kernel refused, or did not answer within the socket's timeout.
    """
    channel.send(HEADER.pack(HEADER.size + len(body), kind, _REQUEST_ACKNOWLEDGED, sequence, 0) + body)
    acknowledge(channel.recv(RECEIVE_BYTES))


def acknowledge(data: bytes) -> None:
    """Raise what the kernel answered to a change; an error number of zero is its consent."""
    for kind, body in split(data):
        number = -struct.unpack_from("=i", body)[0] if kind == _ERROR and len(body) >= 4 else 0
        if number:
            raise OSError(number, os.strerror(number))


def dump(channel: socket.socket, kind: int, body: bytes, flags: int = REQUEST_DUMP) -> Iterator[tuple[int, bytes]]:
    """Ask for everything of a kind, and yield the messages of the answer as (type, body).

    Raises:
        OSError: the kernel refused, or did not answer within the socket's timeout.
    """
    channel.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
    while True:
        data = channel.recv(RECEIVE_BYTES)
        over = ends(data)
        yield from ((number, content) for number, content in split(data) if number not in (_ERROR, _DONE))
        if over:
            return


@dataclass(frozen=True, slots=True)
class LinkMessage:
    """A link that is there (``gone`` False: new or changed) or was removed."""

    index: int
    name: str
    gone: bool
    running: bool
    operational_state: str
    mtu_bytes: int | None
    hardware_address: str


@dataclass(frozen=True, slots=True)
class AddressMessage:
    """An address, as ``192.0.2.1/24``, that a link has or lost."""

    index: int
    address: str
    gone: bool


Message = LinkMessage | AddressMessage


def open_socket(groups: int = 0) -> socket.socket:
    """A rtnetlink socket that hears these multicast groups; OSError where the system forbids it."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        channel.bind((0, groups))
    except OSError:
        channel.close()
        raise
    return channel


def dump_addresses(timeout_s: float = 2.0) -> list[AddressMessage]:
    """Every address of every link in this network namespace."""
    with open_socket() as channel:
        channel.settimeout(timeout_s)
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        found = (_address(content, False) for kind, content in dump(channel, GET_ADDRESS, body) if kind == NEW_ADDRESS)
        return [message for message in found if message is not None]


def parse(data: bytes) -> Iterator[Message]:
    """The link and address messages in one datagram; others, and what is cut short, are left out."""
    for kind, body in split(data):
        message = None
        if kind in (NEW_LINK, DELETE_LINK):
            message = _link(body, kind == DELETE_LINK)
        elif kind in (NEW_ADDRESS, DELETE_ADDRESS):
            message = _address(body, kind == DELETE_ADDRESS)
        if message is not None:
            yield message


def ends(data: bytes) -> bool:
    """Whether a dump is over; raises OSError with the kernel's reason where it failed."""
    for kind, body in split(data):
        if kind == _ERROR:
            number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 5
            if number:
                raise OSError(number, os.strerror(number))
            return True  # an acknowledgement
        if kind == _DONE:
            return True
    return not data


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of a datagram as (type, body); stops where one is cut short."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, offset)
        if not HEADER.size <= length <= len(data) - offset:
            return
        yield kind, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes_of(data: bytes) -> dict[int, bytes]:
    """Attributes by their type, of several of one type the last; stops where one is cut short."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _link(body: bytes, gone: bool) -> LinkMessage | None:
    if len(body) < _LINK.size:
        return None
    _, _, index, flags, _ = _LINK.unpack_from(body)
    attributes = attributes_of(body[_LINK.size :])
    state = attributes.get(_IFLA_OPERSTATE, b"\0")[:1]
    mtu = attributes.get(_IFLA_MTU, b"")
    return LinkMessage(
        index=index,
        name=attributes.get(_IFLA_NAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
        gone=gone,
        running=bool(flags & _IFF_RUNNING),
        operational_state=_STATES[state[0]] if state and state[0] < len(_STATES) else "unknown",
        mtu_bytes=struct.unpack("=I", mtu)[0] if len(mtu) == 4 else None,
        hardware_address=attributes.get(_IFLA_ADDRESS, b"").hex(":"),
    )


def _address(body: bytes, gone: bool) -> AddressMessage | None:
    if len(body) < _ADDRESS.size:
        return None
    _, prefix, _, _, index = _ADDRESS.unpack_from(body)
    attributes = attributes_of(body[_ADDRESS.size :])
    # On a point-to-point link IFA_ADDRESS is the other end and IFA_LOCAL is ours.
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS) or b""
    if len(packed) not in (4, 16):
        return None
    return AddressMessage(index, f"{ipaddress.ip_address(packed)}/{prefix}", gone)

"""A class of HTB changed in place, straight over the kernel's socket: the step of every change of a rate."""

from __future__ import annotations

import socket
import struct
import sys

from fairlead_bridge.netlink import attribute, request
from fairlead_bridge.shaping.objects import HtbClass

_NEW_CLASS = 40
_MESSAGE = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_KIND, _OPTIONS = 1, 2
_HTB_CLASS = struct.Struct("=BBHhHI BBHhHI IIIII")
_HTB_PARAMETERS, _HTB_RATE64, _HTB_CEIL64 = 1, 6, 7
_LINK_LAYER_ETHERNET = 1
_U32 = 2**32 - 1


def change_class(channel: socket.socket, index: int, item: HtbClass) -> None:
    """Change a class of HTB in place (tc_htb_opt of linux/pkt_sched.h).

    Raises:
        OSError: the kernel refused.
    """
    rate, ceil = item.rate_bytes_per_s, item.ceil_bytes_per_s
    parameters = _HTB_CLASS.pack(
        *_rate(rate),
        *_rate(ceil),
        _ticks(item.burst_bytes, rate),
        _ticks(item.ceil_burst_bytes, ceil),
        item.quantum_bytes,
        0,
        item.priority,
    )
    options = attribute(_HTB_PARAMETERS, parameters)
    for kind, value in ((_HTB_RATE64, rate), (_HTB_CEIL64, ceil)):
        if value > _U32:
            options += attribute(kind, value.to_bytes(8, sys.byteorder))
    body = _MESSAGE.pack(socket.AF_UNSPEC, index, item.handle, item.parent, 0)
    request(channel, _NEW_CLASS, body + attribute(_KIND, b"htb\0") + attribute(_OPTIONS, options))


def _rate(bytes_per_s: int) -> tuple[int, ...]:
    """A tc_ratespec. It names its link layer, so that the kernel asks for no table of times."""
    return 0, _LINK_LAYER_ETHERNET, 0, 0, 0, min(bytes_per_s, _U32)


def _ticks(size_bytes: int, bytes_per_s: int) -> int:
    """How long a bucket takes to fill, in the scheduler's ticks of 64 ns."""
    return min(_U32, int(int(1e6 * size_bytes / bytes_per_s) * 15.625))

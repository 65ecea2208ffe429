"""TUN devices: a link of which a program is the other end. Layouts of linux/if_tun.h and net/if.h."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SET_ADDRESS, _SET_NETMASK, _SET_MTU, _GET_FLAGS, _SET_FLAGS = 0x8916, 0x891C, 0x8922, 0x8913, 0x8914
_IFF_UP = 0x1
_NAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class Tun:
    """An open device; it goes when it is closed. Packets are whole IP packets, read and written without waiting."""

    name: str
    descriptor: int

    def close(self) -> None:
        """Remove the device."""
        os.close(self.descriptor)


def open_tun(name: str, address: str | None = None, mtu_bytes: int = 1500, dev: str = "/dev") -> Tun:
    """Make a device in the network namespace of this thread, with an address such as ``10.0.0.1/30``, and start it.

    Raises:
        OSError: the kernel has no TUN (ENOENT, ENODEV), permits none (EPERM), or the name is taken (EBUSY).
    """
    if not 0 < len(name.encode()) < _NAME_BYTES:
        raise OSError(22, f"TUN device {name!r}: a name of 1 to 15 bytes is accepted")
    path = f"{dev}/net/tun"
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        made = fcntl.ioctl(descriptor, _TUNSETIFF, request)[:_NAME_BYTES].rstrip(b"\0").decode()
        _start(made, address, mtu_bytes)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, f"TUN device {name}: {error.strerror or error}") from error
    return Tun(made, descriptor)


def _start(name: str, address: str | None, mtu_bytes: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_MTU, struct.pack("16si12x", name.encode(), mtu_bytes))
        if address is not None:
            _set_address(control, name, address)
        flags = struct.unpack_from("16sh", fcntl.ioctl(control, _GET_FLAGS, struct.pack("16s24x", name.encode())))[1]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", name.encode(), flags | _IFF_UP))


def _set_address(control: socket.socket, name: str, address: str) -> None:
    try:
        interface = ipaddress.ip_interface(address)
    except ValueError as error:
        raise OSError(22, f"address {address!r}: an address with its prefix such as 10.0.0.1/30 is accepted") from error
    if interface.version == 6:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            fcntl.ioctl(six, _SET_ADDRESS, interface.ip.packed + struct.pack("=Ii", interface.network.prefixlen, index))
        return
    for request, value in ((_SET_ADDRESS, interface.ip), (_SET_NETMASK, interface.netmask)):
        fcntl.ioctl(control, request, struct.pack("16sHxx4s16x", name.encode(), socket.AF_INET, value.packed))

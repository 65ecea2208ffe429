"""Carries out steps in the running kernel, by pyroute2 (the extra ``shaping``)."""

from __future__ import annotations

import errno
import os
import socket
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fairlead_bridge.netlink import open_socket
from fairlead_bridge.shaping import traffic_control
from fairlead_bridge.shaping.class_change import change_class
from fairlead_bridge.shaping.difference import Step
from fairlead_bridge.shaping.errors import ApplyError
from fairlead_bridge.shaping.match import Key
from fairlead_bridge.shaping.objects import (
    HTB_HANDLE,
    INGRESS_HANDLE,
    ROOT,
    TBF_HANDLE,
    Device,
    Filter,
    HtbClass,
    KernelObject,
    Qdisc,
    helper_name,
)

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.ESRCH)
_THERE = (errno.EEXIST, errno.ENOSPC)  # ENOSPC: a filter's place is taken
_FILTER_NODE = 1  # without a number a second filter would take its place beside the first
_UP = 1
_TIMEOUT_S = 5.0
DEVICE_GROUP = 0xFA1E
_INGRESS_PARENTS = (0xFFFFFFF1, INGRESS_HANDLE)


class Kernel:
    """The network namespace of the thread that opens it. Calls block for well below a millisecond each."""

    def __init__(self) -> None:
        self._route = _open()
        self._socket = open_socket()
        self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        """Close the sockets."""
        self._route.close()
        self._socket.close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def do(self, step: Step) -> None:
        """Carry out one step.

        Raises:
            OSError: the kernel refused; nothing of the step is in force.
        """
        try:
            if step.after is None:
                self._remove(_known(step.before))
            else:
                self._make(step.after, "add" if step.before is None else "change")
        except Exception as error:
            raise _as_os_error(error) from error

    def undo(self, step: Step) -> None:
        """Carry out a step's inverse, whether or not the step was done.

        Raises:
            OSError: the kernel refused for another reason than that this is how it is already.
        """
        inverse = step.inverse
        settled = _GONE if inverse.after is None else _THERE if inverse.before is None else ()
        try:
            self.do(inverse)
        except OSError as error:
            if error.errno not in settled:
                raise

    def foreign_qdisc(self, link: str, ours: set[tuple[object, ...]]) -> str | None:
        """The discipline of somebody else at a link's root or ingress; None where there is room for ours.

        An ingress discipline always has the same handle: it is ours where ``ours`` (of ``identity``) says so.
        """
        index = index_of(link)
        for entry in traffic_control.qdiscs():
            if entry.index != index or entry.handle == 0 or entry.parent not in (ROOT, *_INGRESS_PARENTS):
                continue
            if ("qdisc", link, entry.handle, entry.kind) not in ours:
                name = f"{entry.kind} {entry.handle >> 16:x}:"
                left = entry.handle in (HTB_HANDLE, TBF_HANDLE)
                return f"{name}, made by us, but no plan is kept (tc qdisc del dev {link} root)" if left else name
        return None

    def present(self, link: str) -> set[tuple[object, ...]]:
        """What there is of ours at a link and at its helper, as ``identity`` names it."""
        found: set[tuple[object, ...]] = set()
        for device in (link, helper_name(link)):
            try:
                index = socket.if_nametoindex(device)
            except OSError:
                continue
            if device != link:
                found.add(("device", device))
            mine = [entry for entry in traffic_control.qdiscs() if entry.index == index and entry.handle]
            found |= {("qdisc", device, entry.handle, entry.kind) for entry in mine}
            found |= {("class", device, entry.handle) for entry in traffic_control.classes(index)}
            for parent in (HTB_HANDLE, INGRESS_HANDLE):
                if any(entry.handle == parent for entry in mine):
                    entries = traffic_control.filters(index, parent)
                    found |= {("filter", device, parent, entry.priority) for entry in entries}
        return found

    def _make(self, item: KernelObject, verb: str) -> None:
        if isinstance(item, Device):
            self._make_device(item)
        elif isinstance(item, Qdisc):
            options = dict(item.options)
            self._route.tc(verb, item.kind, index_of(item.device), item.handle, parent=item.parent, **options)
        elif isinstance(item, HtbClass) and verb == "change":
            # The step of every change of a rate: pyroute2 would compute tables that the kernel does not read.
            change_class(self._socket, index_of(item.device), item)
        elif isinstance(item, HtbClass):
            self._make_class(item)
        else:
            self._make_filter(item, f"{verb}-filter")

    def _make_device(self, item: Device) -> None:
        # All in one message, so that a device that exists is also known to be ours.
        self._route.link("add", ifname=item.name, kind="ifb", group=DEVICE_GROUP, flags=_UP, change=_UP)
        self._route.link("set", index=index_of(item.name), ifalias=item.alias)

    def _make_class(self, item: HtbClass) -> None:
        self._route.tc(
            "add-class",
            "htb",
            index_of(item.device),
            item.handle,
            parent=item.parent,
            rate=item.rate_bytes_per_s,
            ceil=item.ceil_bytes_per_s,
            burst=item.burst_bytes,
            cburst=item.ceil_burst_bytes,
            prio=item.priority,
            quantum=item.quantum_bytes,
        )

    def _make_filter(self, item: Filter, command: str) -> None:
        extra: dict[str, Any] = {}
        if item.redirect is not None:
            target = index_of(item.redirect)
            extra["action"] = [
                {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": target},
            ]
        elif item.police_bytes_per_s:
            rate, burst = item.police_bytes_per_s, item.police_burst_bytes
            extra["action"] = [{"kind": "police", "rate": rate, "burst": burst, "limit": 0, "action": "drop"}]
        self._route.tc(
            command,
            "u32",
            index_of(item.device),
            _FILTER_NODE,
            parent=item.parent,
            prio=item.priority,
            protocol=item.selector.ethertype,
            target=item.target,
            keys=u32_keys(item.selector.keys),
            **extra,
        )

    def _remove(self, item: KernelObject) -> None:
        if isinstance(item, Device):
            self._remove_device(item)
            return
        # Without a kind: pyroute2 would ask for the options that only making it needs.
        index = index_of(item.device)
        if isinstance(item, Qdisc):
            self._route.tc("del", index=index, handle=item.handle, parent=item.parent)
        elif isinstance(item, HtbClass):
            self._route.tc("del-class", index=index, handle=item.handle, parent=item.parent)
        else:
            info = item.priority << 16 | socket.htons(item.selector.ethertype)
            self._route.tc("del-filter", index=index, parent=item.parent, info=info)

    def _remove_device(self, item: Device) -> None:
        index = index_of(item.name)
        found = next(iter(self._route.link("get", index=index))).get_attr("IFLA_GROUP")
        if found != DEVICE_GROUP:
            raise OSError(errno.ENODEV, f"link {item.name} is not ours (group {found}), and stays")
        self._route.link("del", index=index)


def identity(item: KernelObject) -> tuple[object, ...]:
    """What ``Kernel.present`` calls an object."""
    if isinstance(item, Device):
        return ("device", item.name)
    if isinstance(item, Qdisc):
        return ("qdisc", item.device, item.handle, item.kind)
    if isinstance(item, HtbClass):
        return ("class", item.device, item.handle)
    return ("filter", item.device, item.parent, item.priority)


def u32_keys(keys: tuple[Key, ...]) -> list[str]:
    """Keys in pyroute2's notation, byte by byte: of a longer one it shifts what follows a zero byte of the mask."""
    parts = [
        f"0x{key.value >> shift & 255:02x}/0x{mask:02x}+{key.offset + 3 - shift // 8}"
        for key in keys
        for shift in (24, 16, 8, 0)
        if (mask := key.mask >> shift & 255)
    ]
    return parts or ["0x0/0x0+0"]


def index_of(link: str) -> int:
    """A link's index; OSError (ENODEV) names the link."""
    try:
        return socket.if_nametoindex(link)
    except OSError as error:
        raise OSError(errno.ENODEV, f"there is no link {link}") from error


def check_no_loop() -> None:
    """pyroute2 runs an event loop of its own, which cannot run inside another one: better said before than half way.

    Raises:
        ApplyError: this thread runs an event loop.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio.events._get_running_loop() is not None:
        raise ApplyError("called inside a running event loop; accepted: asyncio.to_thread, or any thread without one")


def _open() -> IPRoute:
    check_no_loop()
    try:
        from pyroute2 import IPRoute  # 14 MiB resident: only where something is shaped
    except ImportError as error:
        raise ApplyError("shaping needs pyroute2: install fairlead-firmware-bridge[shaping]") from error
    return IPRoute()


def _known(item: KernelObject | None) -> KernelObject:
    assert item is not None, "a step has a before or an after"
    return item


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, OSError):
        return error
    number = getattr(error, "code", 0)
    if isinstance(number, int) and number > 0:
        return OSError(number, os.strerror(number))
    return OSError(errno.EIO, f"{type(error).__name__}: {error}")

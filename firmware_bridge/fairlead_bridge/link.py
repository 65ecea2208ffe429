"""Network links: what each is, how fast, which addresses it has, what it carried."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.netlink import dump_addresses
from fairlead_bridge.reading import Missing, attempt, convert, is_known
from fairlead_bridge.roots import Roots
from fairlead_bridge.tree import Tree

if TYPE_CHECKING:
    from fairlead_bridge.link_watch import LinkWatch

LinkKind = Literal["ethernet", "wireless", "cellular", "loopback", "tunnel", "other"]
AddressSource = Callable[[], dict[int, tuple[str, ...]]]

_NET = "class/net"
_ETHERNET, _LOOPBACK = 1, 772
_TUNNELS = (65534, 768, 769, 776, 778, 823)  # ARPHRD_NONE (tun, wireguard), TUNNEL(6), SIT, IPGRE, IP6GRE
_CELLULAR = re.compile(r"(rmnet|ccmni|wwan|seth_|pdp)[\w.]*")
_WIRELESS = re.compile(r"^\s*(\S+):\s+\S+\s+(-?[0-9]+)\.?\s+(-?[0-9]+)\.?\s+(-?[0-9]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters since the link came up; they may wrap at 2**32 on old drivers."""

    received_bytes: int | Missing
    sent_bytes: int | Missing
    received_errors: int | Missing
    sent_errors: int | Missing
    received_dropped: int | Missing
    sent_dropped: int | Missing


@dataclass(frozen=True, slots=True)
class Wireless:
    """Reception as the driver states it; drivers without calibration give a relative signal."""

    quality: int
    signal_dbm: int


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface. ``speed_bits_per_s`` is what was negotiated, not what an end-to-end path gives.

    ``virtual`` links (bridges, veth, tunnels) have no hardware of their own. ``carrier`` and the speed of a
    link that is administratively down are missing.
    """

    name: str
    index: int | Missing
    kind: LinkKind
    virtual: bool
    operational_state: str | Missing
    carrier: bool | Missing
    mtu_bytes: int | Missing
    speed_bits_per_s: int | Missing
    full_duplex: bool | Missing
    hardware_address: str | Missing
    addresses: tuple[str, ...] | Missing
    wireless: Wireless | Missing
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Links:
    """All links at one time."""

    at: Moment
    links: tuple[Link, ...]


class LinkSensor:
    """Reads /sys/class/net, and asks the kernel over netlink for addresses, which sysfs does not show."""

    def __init__(self, roots: Roots | None = None, address_source: AddressSource | None = None) -> None:
        self._roots = roots or Roots()
        self._sys = self._roots.sys_tree
        self._address_source = address_source or (addresses_by_index if self._roots.live else None)

    def read(self, at: Moment | None = None) -> Links | Missing:
        names = self._sys.entries(_NET)
        if isinstance(names, Missing):
            return names
        addresses = self._addresses()
        wireless = self._wireless()
        directories = [name for name in names if self._sys.holds(f"{_NET}/{name}/ifindex")]
        return Links(at or now(), tuple(self._link(name, addresses, wireless) for name in directories))

    def watch(self) -> LinkWatch:
        """Changes of links and addresses from this call on: an asynchronous iterator, to be closed."""
        from fairlead_bridge.link_watch import LinkWatch  # asyncio, which reading does not need

        return LinkWatch()

    def _addresses(self) -> dict[int, tuple[str, ...]] | Missing:
        if self._address_source is None:
            return Missing("addresses", "these roots are not the running kernel's")
        return attempt("addresses", self._address_source)

    def _wireless(self) -> dict[str, Wireless]:
        text = self._roots.proc_tree.text("net/wireless")
        rows = [] if isinstance(text, Missing) else _WIRELESS.findall(text)
        return {name: Wireless(int(quality[:6]), int(level[:6])) for name, quality, level, _ in rows}

    def _link(self, name: str, addresses: dict[int, tuple[str, ...]] | Missing, wireless: dict[str, Wireless]) -> Link:
        sys, path = self._sys, f"{_NET}/{name}"
        index = sys.integer(f"{path}/ifindex", 1, 2**31 - 1)
        return Link(
            name=name,
            index=index,
            kind=_kind(sys, name),
            virtual=not sys.holds(f"{path}/device"),
            operational_state=sys.line(f"{path}/operstate"),
            carrier=sys.flag(f"{path}/carrier"),
            mtu_bytes=sys.integer(f"{path}/mtu", 1, 2**32 - 1),
            speed_bits_per_s=_speed_bits_per_s(sys, f"{path}/speed"),
            full_duplex=_full_duplex(sys, f"{path}/duplex"),
            hardware_address=sys.line(f"{path}/address"),
            addresses=_of_link(addresses, index),
            wireless=wireless.get(name, Missing(self._roots.proc_tree.name("net/wireless"), f"no row for {name}")),
            traffic=_traffic(sys, f"{path}/statistics"),
        )


def addresses_by_index() -> dict[int, tuple[str, ...]]:
    """Addresses of the running kernel's links, by interface index; OSError where netlink is forbidden."""
    found: dict[int, list[str]] = {}
    for message in dump_addresses():
        found.setdefault(message.index, []).append(message.address)
    return {index: tuple(items) for index, items in found.items()}


def _of_link(addresses: dict[int, tuple[str, ...]] | Missing, index: int | Missing) -> tuple[str, ...] | Missing:
    if isinstance(addresses, Missing):
        return addresses
    return convert(index, lambda number: addresses.get(number, ()))


def _kind(sys: Tree, name: str) -> LinkKind:
    path = f"{_NET}/{name}"
    hardware = sys.integer(f"{path}/type", 0, 65535)
    if sys.holds(f"{path}/wireless") or sys.holds(f"{path}/phy80211"):
        return "wireless"
    if hardware == _LOOPBACK:
        return "loopback"
    if _CELLULAR.fullmatch(name) or "DEVTYPE=wwan" in str(sys.text(f"{path}/uevent")):
        return "cellular"
    if is_known(hardware) and hardware in _TUNNELS:
        return "tunnel"
    return "ethernet" if hardware == _ETHERNET else "other"


def _speed_bits_per_s(sys: Tree, path: str) -> int | Missing:
    megabits = sys.integer(path, -1, 10**7)
    if isinstance(megabits, Missing) or megabits > 0:
        return convert(megabits, lambda value: value * 1_000_000)
    return Missing(sys.name(path), "the driver does not know it", "refused")


def _full_duplex(sys: Tree, path: str) -> bool | Missing:
    word = sys.line(path)
    if isinstance(word, Missing) or word in ("full", "half"):
        return convert(word, lambda value: value == "full")
    return Missing(sys.name(path), f"expected full or half, found {word[:40]!r}", "refused")


def _traffic(sys: Tree, path: str) -> Traffic:
    def count(name: str) -> int | Missing:
        return sys.integer(f"{path}/{name}", 0, 2**64 - 1)

    return Traffic(
        received_bytes=count("rx_bytes"),
        sent_bytes=count("tx_bytes"),
        received_errors=count("rx_errors"),
        sent_errors=count("tx_errors"),
        received_dropped=count("rx_dropped"),
        sent_dropped=count("tx_dropped"),
    )

"""A plan as the kernel's objects, in the order in which they can be made. Pure.

Handles tell our objects from others': the disciplines at the root have the majors below. A class's minor comes from its
name, so that it stays the same class while its rate, its place in the plan or its neighbours change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fairlead_bridge.shaping.match import EVERYTHING, Selector, selectors
from fairlead_bridge.shaping.plan import (
    ClassTree,
    Policer,
    ShapingPlan,
    TokenBucket,
    TrafficClass,
    burst_bytes,
    queue_bytes,
)
from fairlead_bridge.shaping.traffic_control import ROOT

#: What identifies an object of the kernel, among those of all links.
Key = tuple[object, ...]

HTB_HANDLE, TBF_HANDLE, INGRESS_HANDLE = 0xFA10_0000, 0xFA20_0000, 0xFFFF_0000
_TOTAL_MINOR, _DEFAULT_MINOR = 0x1, 0x7FFF
_LEAST_MINOR, _MINORS = 0x10, 0x7FE0
_INGRESS_PARENT = 0xFFFFFFF1
_DEVICE_NAME_BYTES = 15
_QUANTUM_MIN, _QUANTUM_MAX = 1514, 60_000


@dataclass(frozen=True, slots=True)
class Device:
    """A helper link of the kind ``ifb``; ``alias`` marks it as ours."""

    name: str
    alias: str

    @property
    def key(self) -> Key:
        return ("device", self.name)

    @property
    def parent_key(self) -> Key | None:
        return None


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline. ``options`` are those of its kind; ``changeable`` ones the kernel can change in place."""

    device: str
    handle: int
    parent: int
    kind: str
    options: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> Key:
        return ("qdisc", self.device, self.handle, self.parent, self.kind)

    @property
    def parent_key(self) -> Key | None:
        return (
            ("device", self.device) if self.parent in (ROOT, _INGRESS_PARENT) else class_key(self.device, self.parent)
        )


@dataclass(frozen=True, slots=True)
class HtbClass:
    """A class of HTB; rates in bytes per second, as the kernel has them."""

    device: str
    handle: int
    parent: int
    rate_bytes_per_s: int
    ceil_bytes_per_s: int
    burst_bytes: int
    ceil_burst_bytes: int
    priority: int
    quantum_bytes: int

    @property
    def key(self) -> Key:
        return class_key(self.device, self.handle)

    @property
    def parent_key(self) -> Key | None:
        if self.parent == HTB_HANDLE:
            return ("qdisc", self.device, HTB_HANDLE, ROOT, "htb")
        return class_key(self.device, self.parent)


@dataclass(frozen=True, slots=True)
class Filter:
    """Sends what ``selector`` selects to the class ``target``, to the link ``redirect``, or through a policer."""

    device: str
    parent: int
    priority: int
    selector: Selector
    target: int = 0
    redirect: str | None = None
    police_bytes_per_s: int = 0
    police_burst_bytes: int = 0

    @property
    def key(self) -> Key:
        return ("filter", self.device, self.parent, self.priority)

    @property
    def parent_key(self) -> Key | None:
        if self.parent == HTB_HANDLE:
            return class_key(self.device, self.target)
        return ("qdisc", self.device, INGRESS_HANDLE, _INGRESS_PARENT, "ingress")


KernelObject = Device | Qdisc | HtbClass | Filter


def class_key(device: str, handle: int) -> Key:
    """What identifies a class."""
    return ("class", device, handle)


@lru_cache(maxsize=16)
def objects_of(plan: ShapingPlan | None) -> tuple[KernelObject, ...]:
    """All objects of a plan, each after those on which it depends; none without a plan."""
    if plan is None:
        return ()
    return (*_egress(plan.link, plan.egress), *_ingress(plan))


def helper_name(link: str) -> str:
    """The helper link for what arrives at ``link``."""
    name = f"ifb-{link}"
    return name if len(name) <= _DEVICE_NAME_BYTES else f"ifb-{zlib.crc32(link.encode()):08x}"


def class_handles(tree: ClassTree) -> dict[str, int]:
    """The handle of each class by its name."""
    handles: dict[str, int] = {}
    for name in sorted(item.name for item in tree.classes):
        minor = _DEFAULT_MINOR if name == tree.default else _minor(name, set(handles.values()))
        handles[name] = HTB_HANDLE | minor
    return handles


def _minor(name: str, taken: set[int]) -> int:
    start = zlib.crc32(name.encode()) % _MINORS
    steps = range(start, start + _MINORS)
    return next(m for m in (_LEAST_MINOR + step % (_MINORS - 1) for step in steps) if HTB_HANDLE | m not in taken)


def _egress(device: str, part: ClassTree | TokenBucket | None) -> Iterator[KernelObject]:
    if isinstance(part, TokenBucket):
        yield _bucket(device, part)
    elif part is not None:
        yield from _tree(device, part)


def _ingress(plan: ShapingPlan) -> Iterator[KernelObject]:
    part = plan.ingress
    if part is None:
        return
    if isinstance(part, Policer):
        yield Qdisc(plan.link, INGRESS_HANDLE, _INGRESS_PARENT, "ingress")
        rate = part.rate_bits_per_s
        yield Filter(
            plan.link,
            INGRESS_HANDLE,
            1,
            EVERYTHING,
            police_bytes_per_s=int(rate / 8),
            police_burst_bytes=burst_bytes(rate, part.burst_bytes),
        )
        return
    helper = helper_name(plan.link)
    yield Device(helper, f"fairlead shaping of {plan.link}")
    yield from _egress(helper, part)
    yield Qdisc(plan.link, INGRESS_HANDLE, _INGRESS_PARENT, "ingress")
    yield Filter(plan.link, INGRESS_HANDLE, 1, EVERYTHING, redirect=helper)


def _bucket(device: str, bucket: TokenBucket) -> Qdisc:
    rate = bucket.rate_bits_per_s
    options = (
        ("rate", int(rate / 8)),
        ("burst", burst_bytes(rate, bucket.burst_bytes)),
        ("limit", queue_bytes(bucket)),
    )
    return Qdisc(device, TBF_HANDLE, ROOT, "tbf", options)


def _tree(device: str, tree: ClassTree) -> Iterator[KernelObject]:
    handles = class_handles(tree)
    yield Qdisc(device, HTB_HANDLE, ROOT, "htb", (("default", _DEFAULT_MINOR),))
    total = int(tree.rate_bits_per_s / 8)
    burst = burst_bytes(tree.rate_bits_per_s, None)
    yield HtbClass(device, HTB_HANDLE | _TOTAL_MINOR, HTB_HANDLE, total, total, burst, burst, 0, _quantum(total))
    for item in tree.classes:
        yield from _class(device, handles[item.name], item, tree.rate_bits_per_s)
    yield from _filters(device, tree, handles)


@lru_cache(maxsize=256)
def _class(device: str, handle: int, item: TrafficClass, total_bits_per_s: float) -> tuple[HtbClass, Qdisc]:
    """A class and its queue. Kept, because a change of one class leaves the others as they are."""
    ceil = item.ceil_bits_per_s or total_bits_per_s
    made = HtbClass(
        device=device,
        handle=handle,
        parent=HTB_HANDLE | _TOTAL_MINOR,
        rate_bytes_per_s=int(item.rate_bits_per_s / 8),
        ceil_bytes_per_s=int(ceil / 8),
        burst_bytes=burst_bytes(item.rate_bits_per_s, item.burst_bytes),
        ceil_burst_bytes=burst_bytes(ceil, item.burst_bytes),
        priority=item.priority,
        quantum_bytes=_quantum(int(item.rate_bits_per_s / 8)),
    )
    return made, Qdisc(device, (handle & 0xFFFF) << 16, handle, "pfifo", (("limit", item.queue_packets),))


def _filters(device: str, tree: ClassTree, handles: dict[str, int]) -> Iterator[Filter]:
    number = 0
    for item in tree.classes:
        for match in item.matches:
            for selector in selectors(match):
                number += 1
                yield _filter(device, number, selector, handles[item.name])


@lru_cache(maxsize=256)
def _filter(device: str, number: int, selector: Selector, target: int) -> Filter:
    return Filter(device, HTB_HANDLE, number, selector, target=target)


def _quantum(rate_bytes_per_s: int) -> int:
    """Bytes that a class sends in its turn; the kernel's own choice (a tenth of the rate) is too much on fast links."""
    return min(_QUANTUM_MAX, max(_QUANTUM_MIN, rate_bytes_per_s // 80))

"""What traffic of a link may have: a description that can be compared, stored and sent. Pure.

Rates count whole frames as the kernel does (on Ethernet with the 14-byte header, without preamble and check sum).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from fairlead_bridge.shaping.errors import PlanError
from fairlead_bridge.shaping.match import Match

RATE_MIN, RATE_MAX = 8_000, 10**12
_FRAME_BYTES = 1600
_BURST_S = 0.01
_PRIORITIES = 8
_NAME = re.compile(r"[^\s/:]{1,15}")
_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A kind of traffic: ``rate_bits_per_s`` is guaranteed, up to ``ceil_bits_per_s`` is lent by what others leave.

    Of those who borrow, a lower ``priority`` (0 to 7) goes first. ``burst_bytes`` may pass at once; without it 10 ms
    of the rate. ``queue_packets`` wait at the most, later ones are dropped. A packet belongs to the first class of
    which one match fits, else to the tree's default.
    """

    name: str
    rate_bits_per_s: float
    ceil_bits_per_s: float | None = None
    burst_bytes: int | None = None
    priority: int = 3
    queue_packets: int = 500
    matches: tuple[Match, ...] = ()

    def validate(self, field: str, total_bits_per_s: float) -> None:
        """Hold the class to its tree.

        Raises:
            PlanError: a value is out of range.
        """
        if not _CLASS_NAME.fullmatch(self.name):
            raise PlanError(f"{field}.name", self.name, "lower case letters, digits, - and _, 63 at the most")
        _rate(self.rate_bits_per_s, f"{field}.rate_bits_per_s", total_bits_per_s)
        ceil = self.ceil_bits_per_s
        if ceil is not None:
            _rate(ceil, f"{field}.ceil_bits_per_s", total_bits_per_s, least=self.rate_bits_per_s)
        _count(self.priority, 0, _PRIORITIES - 1, f"{field}.priority")
        _count(self.queue_packets, 1, 100_000, f"{field}.queue_packets")
        if self.burst_bytes is not None:
            _count(self.burst_bytes, _FRAME_BYTES, 2**30, f"{field}.burst_bytes")
        for number, match in enumerate(self.matches):
            match.validate(f"{field}.matches[{number}]")


@dataclass(frozen=True, slots=True)
class ClassTree:
    """Classes that share ``rate_bits_per_s`` (HTB, hierarchical token bucket). ``default`` names one of them."""

    rate_bits_per_s: float
    classes: tuple[TrafficClass, ...]
    default: str

    def validate(self, field: str) -> None:
        """Hold the tree to what can be guaranteed.

        Raises:
            PlanError: a value is out of range, a name is missing or twice, or more is guaranteed than there is.
        """
        _rate(self.rate_bits_per_s, f"{field}.rate_bits_per_s")
        names = [item.name for item in self.classes]
        for number, item in enumerate(self.classes):
            item.validate(f"{field}.classes[{number}]", self.rate_bits_per_s)
            if names.index(item.name) != number:
                raise PlanError(f"{field}.classes[{number}].name", item.name, "a name that no other class has")
        if self.default not in names:
            raise PlanError(f"{field}.default", self.default, f"one of the classes: {', '.join(names) or 'none'}")
        guaranteed = sum(item.rate_bits_per_s for item in self.classes)
        if guaranteed > self.rate_bits_per_s * (1 + 1e-9):
            raise PlanError(
                f"{field}.classes", f"{guaranteed:g} bit/s in all", f"rates that sum up to {self.rate_bits_per_s:g}"
            )


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """All traffic alike (TBF): ``queue_bytes`` may wait, what comes on top is dropped."""

    rate_bits_per_s: float
    burst_bytes: int | None = None
    queue_bytes: int | None = None

    def validate(self, field: str) -> None:
        """Hold the bucket to what the kernel can keep.

        Raises:
            PlanError: a value is out of range.
        """
        _rate(self.rate_bits_per_s, f"{field}.rate_bits_per_s", 2**32 * 8 - 8)
        if self.burst_bytes is not None:
            _count(self.burst_bytes, _FRAME_BYTES, 2**30, f"{field}.burst_bytes")
        if self.queue_bytes is not None:
            _count(self.queue_bytes, _FRAME_BYTES, 2**31 - 1, f"{field}.queue_bytes")


@dataclass(frozen=True, slots=True)
class Policer:
    """What arrives beyond the rate is dropped at once, without a queue (the kernel's action ``police``)."""

    rate_bits_per_s: float
    burst_bytes: int | None = None

    def validate(self, field: str) -> None:
        """Hold the policer to what the kernel can keep.

        Raises:
            PlanError: a value is out of range.
        """
        _rate(self.rate_bits_per_s, f"{field}.rate_bits_per_s", 2**32 * 8 - 8)
        if self.burst_bytes is not None:
            _count(self.burst_bytes, _FRAME_BYTES, 2**30, f"{field}.burst_bytes")


@dataclass(frozen=True, slots=True)
class ShapingPlan:
    """The shaping of one link; None: that direction is left as the kernel has it.

    What arrives (``ingress``) is queued on a helper link (IFB) that the transaction makes, or policed.
    """

    link: str
    egress: ClassTree | TokenBucket | None = None
    ingress: ClassTree | TokenBucket | Policer | None = None

    def validate(self) -> None:
        """Hold the plan to what some kernel can carry out.

        Raises:
            PlanError: names the field, its value and what is accepted.
        """
        if not _NAME.fullmatch(self.link) or self.link in (".", ".."):
            raise PlanError("link", self.link, "a link's name of 1 to 15 characters without blanks, '/' and ':'")
        for field in ("egress", "ingress"):
            part = getattr(self, field)
            if part is not None:
                part.validate(field)


def burst_bytes(rate_bits_per_s: float, asked_bytes: int | None) -> int:
    """The bucket's size: as asked, else 10 ms of the rate, and two frames at least."""
    return asked_bytes or max(2 * _FRAME_BYTES, math.ceil(rate_bits_per_s / 8 * _BURST_S))


def queue_bytes(bucket: TokenBucket) -> int:
    """The bucket's queue: as asked, else 100 ms of the rate, and ten frames at least."""
    return bucket.queue_bytes or max(10 * _FRAME_BYTES, math.ceil(bucket.rate_bits_per_s / 8 * 0.1))


def _rate(value: float, field: str, most: float = RATE_MAX, least: float = RATE_MIN) -> None:
    known = isinstance(value, int | float) and not isinstance(value, bool)  # pyright: ignore
    if not known or not least <= value <= most:
        raise PlanError(field, value, f"{least:g} to {most:g} bit/s")


def _count(value: int, low: int, high: int, field: str) -> None:
    known = isinstance(value, int) and not isinstance(value, bool)  # pyright: ignore
    if not known or not low <= value <= high:
        raise PlanError(field, value, f"an integer in {low}..{high}")

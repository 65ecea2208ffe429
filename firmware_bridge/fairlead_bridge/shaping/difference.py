"""From one plan to another by the fewest steps, each with its inverse. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead_bridge.shaping.objects import Device, Filter, HtbClass, KernelObject, Key, Qdisc, objects_of
from fairlead_bridge.shaping.plan import ShapingPlan

_CHANGEABLE_KINDS = ("tbf", "pfifo")  # HTB's kernel module has no change of its own options


@dataclass(frozen=True, slots=True)
class Step:
    """One call to the kernel: makes (``before`` is None), changes in place, or removes (``after`` is None)."""

    before: KernelObject | None
    after: KernelObject | None

    @property
    def inverse(self) -> Step:
        """What undoes it."""
        return Step(self.after, self.before)

    def __str__(self) -> str:
        if self.before is None:
            return f"add {describe(self.after)}"
        if self.after is None:
            return f"remove {describe(self.before)}"
        return f"change {describe(self.after)}"


def diff(old: ShapingPlan | None, new: ShapingPlan | None) -> tuple[Step, ...]:
    """The steps from one plan of a link to another; both may be None (nothing is shaped)."""
    return steps(objects_of(old), objects_of(new))


def steps(old: Iterable[KernelObject], new: Iterable[KernelObject]) -> tuple[Step, ...]:
    """The steps from one set of objects to another; each set is in the order in which it can be made.

    Removals come first, the last made first: what takes a place must find it empty. What stays is changed in place.
    Helper links take no place: they go last, so that a change that fails before has not lost their identity.
    """
    there = {item.key: item for item in old}
    wanted = {item.key: item for item in new}
    kept = _kept(there, wanted)
    removals = [Step(item, None) for key, item in reversed(there.items()) if key not in kept]
    early = [step for step in removals if not isinstance(step.before, Device)]
    late = [step for step in removals if isinstance(step.before, Device)]
    changes = [Step(there[key], item) for key, item in wanted.items() if key in kept and not _same(there[key], item)]
    additions = [Step(None, item) for key, item in wanted.items() if key not in kept]
    return (*early, *changes, *additions, *late)


def describe(item: KernelObject | None) -> str:
    """An object as a person would name it, in tc's notation."""
    if item is None:
        return "nothing"
    if isinstance(item, Qdisc):
        return f"{item.kind} {item.handle >> 16:x}: on {item.device}"
    if isinstance(item, HtbClass):
        rates = f"rate {item.rate_bytes_per_s * 8} ceil {item.ceil_bytes_per_s * 8} bit/s"
        return f"class {item.handle >> 16:x}:{item.handle & 0xFFFF:x} on {item.device} ({rates})"
    if isinstance(item, Filter):
        return f"filter {item.priority} of {item.parent >> 16:x}: on {item.device}"
    return f"link {item.name}"


def _kept(there: dict[Key, KernelObject], wanted: dict[Key, KernelObject]) -> set[Key]:
    """Keys of what need not be made again: it can be changed in place, and all that it depends on stays too."""
    kept: set[Key] = set()
    for key, item in there.items():
        target = wanted.get(key)
        if target is not None and _changeable(item, target):
            parent = item.parent_key
            if parent in kept or parent not in there:
                kept.add(key)
    return kept


def _same(item: KernelObject, target: KernelObject) -> bool:
    """Equality; most objects of two plans are the same one."""
    return item is target or item == target


def _changeable(item: KernelObject, target: KernelObject) -> bool:
    if _same(item, target):
        return True
    if isinstance(item, HtbClass) and isinstance(target, HtbClass):
        return item.parent == target.parent
    return isinstance(item, Qdisc) and item.kind in _CHANGEABLE_KINDS

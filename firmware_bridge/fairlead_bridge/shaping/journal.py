"""What a transaction must remember when its process dies: plans and steps as JSON, in a folder that a reboot empties.

``LINK.plan.json`` is the plan in force; ``LINK.journal.json`` is there while steps are being carried out. Every file
appears whole by renaming. There is no fsync: a crash of the kernel takes the shaping with it, and /run too.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fairlead_bridge.form import to_json
from fairlead_bridge.shaping.errors import ApplyError, PlanError
from fairlead_bridge.shaping.match import Match
from fairlead_bridge.shaping.plan import ClassTree, Policer, ShapingPlan, TokenBucket, TrafficClass

DEFAULT_DIRECTORY = "/run/fairlead/shaping"
_NAMESPACE = "/proc/thread-self/ns/net"
_PLAN, _JOURNAL, _LOCK = ".plan.json", ".journal.json", ".lock"


@dataclass(frozen=True, slots=True)
class Transaction:
    """From one plan to another; None: nothing is shaped. ``index`` is the link's; a new link has another."""

    index: int
    old: ShapingPlan | None
    new: ShapingPlan | None


class Journal:
    """The files of this thread's network namespace in one folder.

    Raises:
        ApplyError: the folder cannot be made or written, or a file in it is garbled: names it.
    """

    def __init__(self, directory: str = DEFAULT_DIRECTORY) -> None:
        try:
            # Links of different namespaces may have the same name, and even the same index.
            self.directory = os.path.join(directory, f"netns-{os.stat(_NAMESPACE).st_ino}")
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
        except OSError as error:
            raise ApplyError(f"folder for the state of shaping: {error}", error.errno or 0) from error

    @contextmanager
    def lock(self, link: str) -> Iterator[None]:
        """Keep other processes from changing this link meanwhile; freed by the kernel when this one dies."""
        descriptor = os.open(self._path(link, _LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def begin(self, link: str, transaction: Transaction) -> None:
        """From now on, and until ``commit`` or ``forget``, the link may be half changed."""
        self._write(self._path(link, _JOURNAL), transaction)

    def commit(self, link: str, transaction: Transaction) -> None:
        """The new plan is in force."""
        if transaction.new is None:
            self.drop(link)
        else:
            # The journal itself becomes the plan: one rename ends the transaction.
            os.replace(self._path(link, _JOURNAL), self._path(link, _PLAN))

    def forget(self, link: str) -> None:
        """The old plan is in force again."""
        _remove(self._path(link, _JOURNAL))

    def drop(self, link: str) -> None:
        """Nothing is in force on a link that went, and nothing is to be undone."""
        _remove(self._path(link, _PLAN))
        _remove(self._path(link, _JOURNAL))

    def committed(self, link: str) -> Transaction | None:
        """The last transaction that was completed."""
        return self._read(self._path(link, _PLAN))

    def stamp(self, link: str) -> tuple[int, int] | None:
        """What tells whether the plan in force is still the one that was read or written; None without one."""
        try:
            found = os.stat(self._path(link, _PLAN))
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def interrupted(self, link: str) -> Transaction | None:
        """A transaction whose end is not known."""
        return self._read(self._path(link, _JOURNAL))

    def links(self, *, interrupted: bool = False) -> tuple[str, ...]:
        """The links with a plan in force, or with an interrupted transaction."""
        ending = _JOURNAL if interrupted else _PLAN
        names = sorted(os.listdir(self.directory))
        return tuple(name.removesuffix(ending) for name in names if name.endswith(ending))

    def _path(self, link: str, ending: str) -> str:
        return os.path.join(self.directory, link + ending)

    def _write(self, path: str, transaction: Transaction) -> None:
        text = f'{{"index":{transaction.index},"old":{_text_of(transaction.old)},"new":{_text_of(transaction.new)}}}'
        try:
            with open(path + ".new", "w") as file:
                file.write(text)
            os.replace(path + ".new", path)
        except OSError as error:
            raise ApplyError(f"{path}: {error.strerror}", error.errno or 0) from error

    def _read(self, path: str) -> Transaction | None:
        try:
            with open(path) as file:
                data = json.load(file)
            return Transaction(int(data["index"]), _plan_or_none(data["old"]), _plan_or_none(data["new"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ApplyError(f"{path}: no transaction ({type(error).__name__}: {error}); remove it by hand") from error


def plan_from_mapping(data: Any) -> ShapingPlan:
    """A plan from JSON values; a class tree has ``classes``, a policer ``"police": true``, else it is a token bucket.

    Raises:
        PlanError: a field is unknown, missing or out of range: names it.
    """
    known = _fields(data, "plan", ShapingPlan)
    egress = _part(known.get("egress"), "egress")
    if isinstance(egress, Policer):
        raise PlanError("egress", "a policer", "classes or a token bucket: only what arrives can be policed")
    plan = _build(ShapingPlan, "plan", {**known, "egress": egress, "ingress": _part(known.get("ingress"), "ingress")})
    plan.validate()
    return plan


def plan_to_mapping(plan: ShapingPlan) -> dict[str, Any]:
    """JSON values that ``plan_from_mapping`` reads again."""
    return json.loads(_text_of(plan))


@lru_cache(maxsize=16)
def _text_of(plan: ShapingPlan | None) -> str:
    """A plan as JSON. Kept: the old plan of a transaction is the new one of the one before."""
    if plan is None:
        return "null"
    parts = {"link": json.dumps(plan.link), "egress": _part_text(plan.egress), "ingress": _part_text(plan.ingress)}
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def _part_text(part: ClassTree | TokenBucket | Policer | None) -> str:
    if isinstance(part, ClassTree):
        classes = ",".join(map(_class_text, part.classes))
        rate, default = json.dumps(part.rate_bits_per_s), json.dumps(part.default)
        return f'{{"rate_bits_per_s":{rate},"classes":[{classes}],"default":{default}}}'
    mapping = to_json(part)
    return json.dumps({**mapping, "police": True} if isinstance(part, Policer) else mapping)


@lru_cache(maxsize=256)
def _class_text(item: TrafficClass) -> str:
    """Kept: most classes of a new plan are those of the old one."""
    return json.dumps(to_json(item))


def _plan_or_none(data: Any) -> ShapingPlan | None:
    return None if data is None else plan_from_mapping(data)


def _part(data: Any, field: str) -> Any:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise PlanError(field, data, "a mapping, or nothing")
    if "classes" in data:
        known = _fields(data, field, ClassTree)
        classes = tuple(_class(item, f"{field}.classes[{i}]") for i, item in enumerate(_items(known, "classes", field)))
        return _build(ClassTree, field, {**known, "classes": classes})
    kind = Policer if data.get("police") else TokenBucket
    return _build(kind, field, _fields({name: value for name, value in data.items() if name != "police"}, field, kind))


def _class(data: Any, field: str) -> TrafficClass:
    known = _fields(data, field, TrafficClass)
    items = _items(known, "matches", field) if known.get("matches") is not None else []
    matches = tuple(_build(Match, f"{field}.matches[{i}]", _fields(item, field, Match)) for i, item in enumerate(items))
    return _build(TrafficClass, field, {**known, "matches": matches})


def _items(data: dict[str, Any], name: str, field: str) -> list[Any]:
    if not isinstance(data[name], list):
        raise PlanError(f"{field}.{name}", data[name], "a list")
    return data[name]


def _fields(data: Any, field: str, kind: type) -> dict[str, Any]:
    accepted = kind.__dataclass_fields__  # pyright: ignore
    if not isinstance(data, dict):
        raise PlanError(field, data, f"a mapping with {', '.join(accepted)}")
    for name in data:
        if name not in accepted:
            raise PlanError(f"{field}.{name}", data[name], f"one of {', '.join(accepted)}")
    return dict(data)


def _build(kind: Any, field: str, values: dict[str, Any]) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise PlanError(field, values, f"the fields of {kind.__name__}: {error}") from error


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return

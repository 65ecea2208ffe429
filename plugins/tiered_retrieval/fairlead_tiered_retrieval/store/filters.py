"""Conditions on metadata, and their form in JSON.

``{"lang": "de", "year": {"ge": 1990, "lt": 2000}}``: a field and a value (equal), a list (one of), or an object of
``eq ne in gt ge lt le exists``; several fields all hold. ``{"$and": [...]}``, ``{"$or": [...]}`` and ``{"$not": ...}``
combine. A field with a list of values meets a condition when one of them does. ``null`` stands for a missing field.
True and 1 are not equal, 1 and 1.0 are. Only values of one type are ordered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadDocument, BadFilter
from .documents import Metadata, Scalar, check_scalar

DEEPEST = 32
MOST_VALUES = 1 << 16
_COMPARISONS = ("gt", "ge", "lt", "le")
_ACCEPTED = "eq, ne, in, gt, ge, lt, le, exists"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field has one of some values."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The field lies between bounds of its type; None: no bound. The bounds themselves belong to it unless open."""

    field: str
    low: Scalar | None = None
    high: Scalar | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: Any) -> bool:
        """Whether one value lies there."""
        bound = self.low if self.low is not None else self.high
        if kind_of(value) != kind_of(bound):
            return False
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        return above and (self.high is None or (value < self.high if self.high_open else value <= self.high))


@dataclass(frozen=True, slots=True)
class Exists:
    """The document has the field."""

    field: str


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold; with none: always."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of the parts holds; with none: never."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter = OneOf | Between | Exists | Every | Some | Not


def parse_filter(given: Any) -> Filter | None:
    """Read a filter from its form in JSON; None and filters are returned as they are.

    Raises:
        BadFilter: names the part, its value, and what is accepted.
    """
    if given is None or isinstance(given, Filter):
        return given
    try:
        return _parsed(given, 0)
    except BadDocument as error:
        raise BadFilter(f"filter: {error}") from None


def to_json(condition: Filter) -> dict[str, Any]:
    """Return a filter in its form in JSON."""
    match condition:
        case OneOf(field, values):
            return {field: {"in": list(values)}}
        case Between(field, low, high, low_open, high_open):
            bounds = (("gt" if low_open else "ge", low), ("lt" if high_open else "le", high))
            return {field: {name: bound for name, bound in bounds if bound is not None}}
        case Exists(field):
            return {field: {"exists": True}}
        case Every(parts):
            return {"$and": [to_json(part) for part in parts]}
        case Some(parts):
            return {"$or": [to_json(part) for part in parts]}
        case Not(part):
            return {"$not": to_json(part)}


def matches(condition: Filter, metadata: Metadata) -> bool:
    """Whether a document's metadata meets a condition: what `Columns.matching` answers for all at once."""
    match condition:
        case OneOf(field, values):
            wanted = {key_of(value) for value in values}
            return any(key_of(value) in wanted for value in values_of(metadata, field))
        case Between(field):
            return any(condition.holds(value) for value in values_of(metadata, field))
        case Exists(field):
            return field in metadata
        case Every(parts):
            return all(matches(part, metadata) for part in parts)
        case Some(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)


def kind_of(value: Any) -> type:
    """Return what a value is compared as: bool, float or str."""
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def key_of(value: Scalar) -> tuple[type, Scalar]:
    """Return what is the same for values that are equal, and only for those."""
    return kind_of(value), value


def values_of(metadata: Metadata, field: str) -> list[Scalar]:
    """Return the values of a field: none, one, or those of its list."""
    value = metadata.get(field)
    return [] if value is None else value if isinstance(value, list) else [value]


def _parsed(given: Any, depth: int) -> Filter:
    if not isinstance(given, Mapping):
        raise BadFilter(f"filter: {given!r:.80}; accepted: an object of fields and conditions")
    if depth > DEEPEST:
        raise BadFilter(f"filter: it is nested more than {DEEPEST} deep; accepted: up to {DEEPEST}")
    parts = tuple(_part(name, value, depth) for name, value in given.items())
    return parts[0] if len(parts) == 1 else Every(parts)


def _part(name: Any, value: Any, depth: int) -> Filter:
    if name in ("$and", "$or"):
        if not isinstance(value, (list, tuple)):
            raise BadFilter(f"filter: {name} = {value!r:.80}; accepted: a list of filters")
        parts = tuple(_parsed(part, depth + 1) for part in value)
        return Every(parts) if name == "$and" else Some(parts)
    if name == "$not":
        return Not(_parsed(value, depth + 1))
    if not isinstance(name, str) or name.startswith("$"):
        raise BadFilter(f"filter: {name!r:.80}; accepted: a field's name, $and, $or, $not")
    if isinstance(value, Mapping):
        return _conditions(name, value)
    return Not(Exists(name)) if value is None else _one_of(name, value)


def _one_of(name: str, value: Any) -> OneOf:
    values = value if isinstance(value, (list, tuple)) else [value]
    if len(values) > MOST_VALUES:
        raise BadFilter(f"filter: {name}: {len(values)} values; accepted: up to {MOST_VALUES}")
    return OneOf(name, tuple(check_scalar(item, name) for item in values))


def _conditions(name: str, given: Mapping[str, Any]) -> Filter:
    unknown = [key for key in given if key not in (*_COMPARISONS, "eq", "ne", "in", "exists")]
    if unknown or not given:
        raise BadFilter(f"filter: {name}: {(unknown or ['{}'])[0]!r:.80}; accepted: {_ACCEPTED}")
    parts: list[Filter] = []
    if bounds := {key: check_scalar(given[key], f"{name}.{key}") for key in _COMPARISONS if key in given}:
        parts.append(_between(name, bounds))
    for key in ("eq", "in", "ne"):
        if key in given:
            missing = given[key] is None
            part = Not(Exists(name)) if missing else _one_of(name, given[key])
            parts.append(Not(part) if key == "ne" else part)
    if "exists" in given:
        if not isinstance(given["exists"], bool):
            raise BadFilter(f"filter: {name}.exists = {given['exists']!r:.80}; accepted: true or false")
        parts.append(Exists(name) if given["exists"] else Not(Exists(name)))
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _between(name: str, bounds: Mapping[str, Scalar]) -> Between:
    for one, other in (("gt", "ge"), ("lt", "le")):
        if one in bounds and other in bounds:
            raise BadFilter(f"filter: {name} has {one} and {other}; accepted: one of them")
    if len({kind_of(bound) for bound in bounds.values()}) > 1:
        raise BadFilter(f"filter: {name} has bounds {list(bounds.values())!r:.80}; accepted: both of one type")
    low, high = bounds.get("gt", bounds.get("ge")), bounds.get("lt", bounds.get("le"))
    return Between(name, low, high, "gt" in bounds, "lt" in bounds)

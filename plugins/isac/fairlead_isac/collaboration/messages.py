"""What cells say to one another: frozen dataclasses with a JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from fairlead_isac.collaboration.network import Agreement
from fairlead_isac.errors import IsacError


@dataclass(frozen=True, slots=True)
class Report:
    """A cell to the leader: I am here, and this is what I reach with all of my time.

    Attributes:
        term: of the leader that the cell knows.
        cell: who speaks.
        rate_bits_per_s: by user.
        information: by target, Fisher information a refresh.
    """

    term: int
    cell: str
    rate_bits_per_s: dict[str, float]
    information: dict[str, float]


@dataclass(frozen=True, slots=True)
class Question:
    """The leader to one cell: come as near to this as you can.

    Attributes:
        term: the leader's; higher ones win.
        round: grows by one as soon as all cells have answered.
        cell: who is asked.
        leader: who asks.
        asked: by coordinate, scaled.
        rate_scale: bit/s of 1 in each user's coordinate.
        allowed: users whom the cell may serve; None: all.
    """

    term: int
    round: int
    cell: str
    leader: str
    asked: list[float]
    rate_scale: list[float]
    allowed: list[str] | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """A cell to the leader: this is as near as I can come.

    Attributes:
        term, round: of the question.
        cell: who answers.
        value: by coordinate, scaled.
        time_share: of the cell's time, by user and target.
        compute: share of the edge server.
        backhaul_bits_per_s: that it takes.
        time_price: multiplier of the cell's time, scaled.
    """

    term: int
    round: int
    cell: str
    value: list[float]
    time_share: dict[str, float]
    compute: float
    backhaul_bits_per_s: float
    time_price: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The leader to all: this is what we do.

    Attributes:
        term: the leader's.
        leader: who says so.
        agreement: what was agreed.
    """

    term: int
    leader: str
    agreement: Agreement


Message = Report | Question | Contribution | Settled
_KINDS: dict[str, type[Message]] = {
    "report": Report,
    "question": Question,
    "contribution": Contribution,
    "settled": Settled,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def to_json(message: Message) -> str:
    """Return a message as one JSON object with its ``kind``."""
    return json.dumps({"kind": _NAMES[type(message)], **_plain(message)}, allow_nan=False)


def from_json(text: str | bytes) -> Message:
    """Return the message that `to_json` wrote.

    Raises:
        IsacError: it is no JSON object, its kind is unknown, or a field is missing, unknown or of another type.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise IsacError(f"message: {str(error)[:200]}; accepted: one JSON object") from None
    if not isinstance(content, dict):
        raise IsacError(f"message: {type(content).__name__}; accepted: one JSON object")
    kind = content.pop("kind", None)
    if kind not in _KINDS:
        raise IsacError(f"message: kind = {str(kind)[:100]!r}; accepted: {', '.join(_KINDS)}")
    return _read(_KINDS[kind], content)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _plain(value: Any) -> Any:
    if isinstance(value, Report | Question | Contribution | Settled | Agreement):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _read(kind: type[Any], content: dict[str, Any]) -> Any:
    """Check names and types, and make tuples of lists where the field has them."""
    hints = get_type_hints(kind)
    if unknown := sorted(set(content) ^ set(hints)):
        raise IsacError(f"{kind.__name__}: {unknown[0]!r} is unknown or missing; accepted: {', '.join(hints)}")
    return kind(**{name: _value(f"{kind.__name__}.{name}", str(hints[name]), content[name]) for name in hints})


#: By the start of a type's name: what JSON has for it.
_SHAPES: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("<class 'int'>", int),
    ("<class 'str'>", str),
    ("<class 'float'>", (int, float)),
    ("float | None", (int, float, type(None))),
    ("str | None", (str, type(None))),
    ("list[str] | None", (list, type(None))),
    ("list", list),
    ("tuple", list),
    ("dict", dict),
    ("collections.abc.Mapping", dict),
)


def _value(where: str, hint: str, value: Any) -> Any:
    if "Agreement" in hint:
        if not isinstance(value, dict):
            raise IsacError(f"{where} = {str(value)[:100]!r}; accepted: an object")
        return _read(Agreement, value)
    accepted = next(shape for start, shape in _SHAPES if hint.startswith(start))
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise IsacError(f"{where} = {str(value)[:100]!r}; accepted: {hint}")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if any(not _is_item(hint, item) for item in items):
        raise IsacError(f"{where} = {str(value)[:100]!r}; accepted: {hint}")
    if hint.startswith("tuple"):
        return tuple(value)
    if "tuple" in hint:
        return {key: tuple(item) for key, item in value.items()}
    return value


def _is_item(hint: str, item: Any) -> bool:
    """Whether an item of a list or an object is what the field's type says: numbers, texts, or one of them inside."""
    if hint.count("Mapping") == 2:
        return isinstance(item, dict) and all(_is_item("float", inner) for inner in item.values())
    if "Mapping" in hint and "tuple" in hint:
        return isinstance(item, list) and all(isinstance(inner, str) for inner in item)
    if "float" in hint:
        return isinstance(item, int | float) and not isinstance(item, bool)
    return isinstance(item, str)

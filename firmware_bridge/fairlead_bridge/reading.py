"""What a sensor returns when it cannot return a value, and how to work with values that may be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from typing_extensions import TypeIs

T = TypeVar("T")
U = TypeVar("U")

MissingKind = Literal["absent", "denied", "garbled", "refused", "failed", "not_measured"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A fact that could not be read: ``what`` was asked for and ``why`` there is no answer.

    ``kind`` is for programs: ``absent`` (the device has no such thing), ``denied`` (permission),
    ``garbled`` (there is an answer, but not a credible one), ``refused`` (the driver answered with an
    error), ``failed`` (a fault on our side of the interface), ``not_measured`` (nobody asked for it).
    It is falsy.
    """

    what: str
    why: str
    kind: MissingKind = "absent"

    def __bool__(self) -> Literal[False]:
        return False

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


Reading: TypeAlias = T | Missing


def is_known(reading: T | Missing) -> TypeIs[T]:
    """True for a value; narrows the type, unlike truth, which a reading of zero fails."""
    return not isinstance(reading, Missing)


def value_or(reading: T | Missing, default: U) -> T | U:
    """The value, or ``default`` where it is missing."""
    return default if isinstance(reading, Missing) else reading


def convert(reading: T | Missing, function: Callable[[T], U]) -> U | Missing:
    """``function`` of the value; a missing reading stays as it is."""
    return reading if isinstance(reading, Missing) else function(reading)


def first_known(*readers: Callable[[], T | Missing]) -> T | Missing:
    """The first of several sources that knows; else the most telling of their reasons."""
    reasons: list[Missing] = []
    for reader in readers:
        reading = reader()
        if not isinstance(reading, Missing):
            return reading
        reasons.append(reading)
    return next((reason for reason in reasons if reason.kind != "absent"), reasons[0])


def attempt(what: str, reader: Callable[[], T | Missing]) -> T | Missing:
    """Run ``reader`` so that a fault in one sensor costs one part of the inventory and never the rest."""
    try:
        return reader()
    except PermissionError as error:
        return Missing(what, f"permission denied: {error}", "denied")
    except Exception as error:
        return Missing(what, f"{type(error).__name__}: {error}", "failed")

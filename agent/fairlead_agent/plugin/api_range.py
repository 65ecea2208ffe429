"""Ranges of versions of the contract, as manifests write them: ``>=1.0,<2``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from itertools import zip_longest

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\d{1,6}(?:\.\d{1,6}){0,3})\s*")


def admits(version_range: str, version: str) -> bool:
    """Whether ``version`` lies in ``version_range``. Missing parts count as 0: 1 is 1.0.

    Raises:
        ValueError: the range is not a list of comparisons.
    """
    return all(_COMPARE[sign](_order(version, bound), 0) for sign, bound in clauses(version_range))


def clauses(version_range: str) -> list[tuple[str, str]]:
    """The comparisons of a range, as (sign, version).

    Raises:
        ValueError: names the part that is none.
    """
    found: list[tuple[str, str]] = []
    for part in version_range.split(","):
        match = _CLAUSE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is no comparison; a range is written as in '>=1.0,<2'")
        found.append((match[1], match[2]))
    return found


def _order(left: str, right: str) -> int:
    pairs = zip_longest(map(int, left.split(".")), map(int, right.split(".")), fillvalue=0)
    return next(((a > b) - (a < b) for a, b in pairs if a != b), 0)

"""Metadata in memory, a column for each field, so that a filter is answered for all documents at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .documents import Scalar
from .filters import Between, Every, Exists, Filter, Not, OneOf, Some, key_of, kind_of

Mask = NDArray[np.bool_]
#: Of one entry of a list: a set's slot and a list's pointer.
_LIST_ENTRY_BYTES = 80
_WORD_BYTES = 120


class Column:
    """One field's values by slot. Each type has an array of its own, allocated when a value of it comes.

    Readers may look at any time: arrays are replaced when they grow, and one value is written at a time.
    """

    def __init__(self) -> None:
        self._there = np.zeros(0, bool)
        self._numbers = np.zeros(0, np.float64)
        self._flags = np.zeros(0, np.int8)
        self._codes = np.zeros(0, np.int32)
        self._words: dict[str, int] = {}
        self._lists: dict[int, list[Scalar]] = {}
        self._holders: dict[tuple[type, Scalar], set[int]] = {}

    def set(self, slot: int, value: Any) -> None:
        """Set the value of a slot that has none."""
        self._there = _with_room(self._there, slot, False)
        self._there[slot] = True
        if isinstance(value, list):
            self._lists[slot] = value
            for item in value:
                self._holders.setdefault(key_of(item), set()).add(slot)
        elif isinstance(value, bool):
            self._flags = _with_room(self._flags, slot, -1)
            self._flags[slot] = value
        elif isinstance(value, str):
            self._codes = _with_room(self._codes, slot, -1)
            self._codes[slot] = self._words.setdefault(value, len(self._words))
        else:
            self._numbers = _with_room(self._numbers, slot, np.nan)
            self._numbers[slot] = value

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Take the values of slots away."""
        for array, nothing in (
            (self._there, False),
            (self._numbers, np.nan),
            (self._flags, -1),
            (self._codes, -1),
        ):
            array[slots[slots < len(array)]] = nothing
        for slot in slots.tolist() if self._lists else ():
            for item in self._lists.pop(slot, ()):
                self._holders[key_of(item)].discard(slot)

    def exists(self, size: int) -> Mask:
        """Return which slots have the field."""
        return _sized(self._there, size, False)

    def one_of(self, values: Sequence[Scalar], size: int) -> Mask:
        """Return which slots have one of the values."""
        numbers = [value for value in values if kind_of(value) is float]
        words = [self._words[value] for value in values if isinstance(value, str) and value in self._words]
        flags = [value for value in values if isinstance(value, bool)]
        found = _sized(_equal(self._numbers, numbers), size, False)
        for array, wanted in ((self._codes, words), (self._flags, flags)):
            found |= _sized(_equal(array, wanted), size, False)
        for value in values if self._holders else ():
            _mark(found, self._holders.get(key_of(value), ()))
        return found

    def between(self, condition: Between, size: int) -> Mask:
        """Return which slots have a value between bounds."""
        kind = kind_of(condition.low if condition.low is not None else condition.high)
        if kind is float:
            found = _sized(_between(self._numbers, condition), size, False)
        elif kind is str:
            fits = np.fromiter((condition.holds(word) for word in tuple(self._words)), bool)
            # The last entry answers for -1, those without a word.
            found = _sized(np.append(fits, False)[np.minimum(self._codes, len(fits))], size, False)
        else:
            fits = np.array([condition.holds(False), condition.holds(True), False])
            found = _sized(fits[self._flags], size, False)
        for (_, value), slots in tuple(self._holders.items()):
            if condition.holds(value):
                _mark(found, slots)
        return found

    @property
    def bytes(self) -> int:
        """Of memory, those of words and lists estimated."""
        arrays = self._there.nbytes + self._numbers.nbytes + self._flags.nbytes + self._codes.nbytes
        return arrays + _WORD_BYTES * len(self._words) + _LIST_ENTRY_BYTES * sum(map(len, self._holders.values()))


class Columns:
    """All fields of a collection. One thread changes them, others may ask meanwhile."""

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}
        self.version = 0
        """Grows with each change: what was answered for an earlier one may be out of date."""

    def set(self, slots: Sequence[int], metadata: Sequence[Mapping[str, Any] | None]) -> None:
        """Set the metadata of slots that have none."""
        for slot, fields in zip(slots, metadata, strict=True):
            for name, value in (fields or {}).items():
                column = self._columns.get(name)
                if column is None:
                    column = self._columns[name] = Column()
                column.set(slot, value)
        self.version += 1

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Take the metadata of slots away."""
        for column in self._columns.values():
            column.clear(slots)
        self.version += 1

    def matching(self, condition: Filter, size: int) -> Mask:
        """Return which of the first `size` slots meet a condition; free slots may be among them where it says not."""
        match condition:
            case OneOf(field, values):
                return self._of(field, size, lambda column: column.one_of(values, size))
            case Between(field):
                return self._of(field, size, lambda column: column.between(condition, size))
            case Exists(field):
                return self._of(field, size, lambda column: column.exists(size))
            case Every(parts):
                return _joined(np.logical_and, (self.matching(part, size) for part in parts), np.ones(size, bool))
            case Some(parts):
                return _joined(np.logical_or, (self.matching(part, size) for part in parts), np.zeros(size, bool))
            case Not(part):
                return ~self.matching(part, size)

    @property
    def bytes(self) -> int:
        """Of memory."""
        return sum(column.bytes for column in tuple(self._columns.values()))

    @property
    def fields(self) -> tuple[str, ...]:
        """That some document has, or had."""
        return tuple(self._columns)

    def _of(self, field: str, size: int, answer: Callable[[Column], Mask]) -> Mask:
        column = self._columns.get(field)
        return np.zeros(size, bool) if column is None else answer(column)


def _with_room(array: NDArray, slot: int, nothing: Any) -> NDArray:
    if slot < len(array):
        return array
    more = np.full(max(64, slot + 1, len(array) * 3 // 2), nothing, array.dtype)
    more[: len(array)] = array
    return more


def _sized(array: NDArray, size: int, nothing: Any) -> NDArray:
    if len(array) >= size:
        return array[:size].copy()
    return np.concatenate((array, np.full(size - len(array), nothing, array.dtype)))


def _equal(array: NDArray, values: Sequence[Any]) -> Mask:
    if not values:
        return np.zeros(0, bool)
    return array == values[0] if len(values) == 1 else np.isin(array.copy(), values)


def _between(numbers: NDArray[np.float64], condition: Between) -> Mask:
    found = ~np.isnan(numbers)
    if condition.low is not None:
        found &= numbers > condition.low if condition.low_open else numbers >= condition.low
    if condition.high is not None:
        found &= numbers < condition.high if condition.high_open else numbers <= condition.high
    return found


def _mark(found: Mask, slots: Any) -> None:
    at = np.fromiter(tuple(slots), np.int64)
    found[at[at < len(found)]] = True


def _joined(join: np.ufunc, masks: Iterator[Mask], start: Mask) -> Mask:
    for mask in masks:
        join(start, mask, out=start)
    return start

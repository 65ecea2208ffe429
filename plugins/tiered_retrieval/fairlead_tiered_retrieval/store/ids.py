"""The ids of documents by slot, in memory, in few bytes more than they are long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .documents import Id

_NUMBER, _TEXT = 1, 2
_LENGTH = 0xFFFF


class SlotIds:
    """Ids by slot: numbers in an array, texts in one run of bytes. One thread sets, others read slots that are set."""

    def __init__(self) -> None:
        # Kinds, values and texts by slot; one object, as a reader needs all three from one moment.
        self._state = (np.zeros(0, np.uint8), np.zeros(0, np.int64), bytearray())
        self._wasted = 0

    def set(self, slots: NDArray[np.int64], ids: Sequence[Id]) -> None:
        """Set the ids of slots."""
        if not len(slots):
            return
        self._make_room(int(slots.max()) + 1)
        kinds, values, texts = self._state
        for slot, key in zip(slots.tolist(), ids, strict=True):
            if kinds[slot] == _TEXT:
                self._wasted += int(values[slot]) & _LENGTH
            if isinstance(key, int):
                values[slot], kinds[slot] = key, _NUMBER
            else:
                data, kinds[slot] = key.encode(), _TEXT
                values[slot] = len(texts) << 16 | len(data)
                texts += data
        if self._wasted > 1 << 16 and 2 * self._wasted > len(texts):
            self._compact()

    def of(self, slots: Sequence[int]) -> list[Id]:
        """Return the ids of slots that are set."""
        kinds, values, texts = self._state
        found: list[Id] = []
        for slot in slots:
            value = int(values[slot])
            found.append(value if kinds[slot] == _NUMBER else _text(texts, value))
        return found

    @property
    def bytes(self) -> int:
        """Of memory."""
        kinds, values, texts = self._state
        return kinds.nbytes + values.nbytes + len(texts)

    def _make_room(self, count: int) -> None:
        kinds, values, texts = self._state
        if count > len(kinds):
            more = max(64, count - len(kinds), len(kinds) // 2)
            self._state = (np.pad(kinds, (0, more)), np.pad(values, (0, more)), texts)

    def _compact(self) -> None:
        """Write the texts anew; readers keep the old ones."""
        kinds, values, texts = self._state
        places, kept = values.copy(), bytearray()
        for slot in np.flatnonzero(kinds == _TEXT).tolist():
            data = _text(texts, int(values[slot])).encode()
            places[slot] = len(kept) << 16 | len(data)
            kept += data
        self._state, self._wasted = (kinds, places, kept), 0


def _text(texts: bytearray, value: int) -> str:
    at = value >> 16
    return texts[at : at + (value & _LENGTH)].decode()

"""Operations become documents: in the database, the file of vectors, and then in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import NotFound, TieredRetrievalError
from ..space import Space
from .catalog import Catalog, Row
from .columns import Columns
from .documents import Id
from .files import crc32c
from .filters import Filter
from .ids import SlotIds
from .operations import Delete, Operation, Update, Upsert
from .served_index import ServedIndex
from .slots import SlotAllocator
from .vector_file import VectorFile


@dataclass(slots=True)
class Parts:
    """What a collection is made of."""

    space: Space
    catalog: Catalog
    file: VectorFile
    slots: SlotAllocator
    ids: SlotIds
    columns: Columns
    served: ServedIndex


@dataclass(slots=True)
class Added:
    """A document with a new slot."""

    id: Id
    vector: np.ndarray
    metadata: dict[str, Any] | None


@dataclass(slots=True)
class Effect:
    """What a batch of operations does to what is in memory.

    Attributes:
        added: documents by slot.
        removed: slots that had documents before.
        unused: slots that were filled and emptied again in this batch.
        changed: metadata by slot, of documents that keep theirs.
        entry: of the log: the last one of the batch.
        counts: for each operation, documents that it wrote or deleted, or the error that kept it from it.
    """

    added: dict[int, Added] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    unused: list[int] = field(default_factory=list)
    changed: dict[int, dict[str, Any]] = field(default_factory=dict)
    entry: int = 0
    counts: list[int | TieredRetrievalError] = field(default_factory=list)

    def remove(self, slot: int) -> None:
        """Note that a slot's document is gone."""
        self.changed.pop(slot, None)
        if self.added.pop(slot, None) is None:
            self.removed.append(slot)
        else:
            self.unused.append(slot)


def commit(parts: Parts, entries: Sequence[tuple[int, Operation]]) -> Effect:
    """Apply operations to what is kept, in one transaction. A delete by filter must be the only one.

    Raises:
        StoreFull: the disk has no room; nothing was changed.
    """
    effect = Effect(entry=entries[-1][0])
    try:
        with parts.catalog.transaction(effect.entry, max(operation.at for _, operation in entries)):
            for number, operation in entries:
                effect.counts.append(_applied(parts, effect, number, operation))
            slots = np.array(sorted(effect.added), np.int64)
            if len(slots):
                parts.file.write(slots, np.stack([effect.added[slot].vector for slot in slots.tolist()]))
    except BaseException:
        parts.slots.put_back([*effect.added, *effect.unused])
        raise
    return effect


def show(parts: Parts, effect: Effect) -> None:
    """Make a committed batch visible: ids and metadata first, as whoever finds a slot asks for them."""
    slots = np.array(sorted(effect.added), np.int64)
    removed = np.array(sorted(effect.removed), np.int64)
    added = [effect.added[slot] for slot in slots.tolist()]
    changed = np.array(sorted(effect.changed), np.int64)
    parts.ids.set(slots, [document.id for document in added])
    parts.columns.clear(np.concatenate((slots, changed)))
    parts.columns.set(slots.tolist(), [document.metadata for document in added])
    parts.columns.set(changed.tolist(), [effect.changed[slot] for slot in changed.tolist()])
    parts.served.apply(removed, slots, effect.entry)
    parts.columns.clear(removed)
    parts.slots.give_back(removed)
    parts.slots.put_back(effect.unused)


def restore_rows(parts: Parts, number: int, operation: Operation) -> None:
    """Write the vectors again of an operation that the database holds already: they may not have reached the disk."""
    if isinstance(operation, Delete) or operation.vectors is None:
        return
    filled = parts.catalog.filled_by(number)
    for row, key in enumerate(operation.ids):
        if key in filled:
            parts.file.write(np.array([filled[key]], np.int64), operation.vectors[row : row + 1])


def matching_slots(parts: Parts, condition: Filter) -> np.ndarray:
    """Return the slots of documents that meet a condition."""
    live = parts.served.live
    return np.flatnonzero(parts.columns.matching(condition, len(live)) & live)


def _applied(parts: Parts, effect: Effect, number: int, operation: Operation) -> int | TieredRetrievalError:
    match operation:
        case Upsert():
            return _upsert(parts, effect, number, operation)
        case Update():
            return _update(parts, effect, number, operation)
        case Delete():
            return _delete(parts, effect, operation)


def _upsert(parts: Parts, effect: Effect, number: int, operation: Upsert) -> int:
    before = parts.catalog.own_rows(operation.ids)
    _remove(parts, effect, [row.slot for row in before.values()])
    texts = operation.texts or [None] * len(operation.ids)
    metadata = operation.metadata or [{}] * len(operation.ids)
    documents = list(zip(operation.ids, operation.vectors, metadata, texts, strict=True))
    _insert(parts, effect, number, documents)
    return len(documents)


def _update(parts: Parts, effect: Effect, number: int, operation: Update) -> int | TieredRetrievalError:
    before = parts.catalog.own_rows(operation.ids)
    missing = [key for key in operation.ids if key not in before]
    if missing:
        return NotFound(f"ids: {missing[0]!r} and {len(missing) - 1} more are not there; nothing was updated")
    rows = [before[key] for key in operation.ids]
    metadata = [_joined(row, fields) for row, fields in zip(rows, operation.metadata or [{}] * len(rows), strict=True)]
    texts = operation.texts or [None] * len(rows)
    if operation.vectors is not None:
        kept = parts.catalog.own_texts([row.slot for row in rows])
        texts = [kept.get(row.slot) if text is None else text for row, text in zip(rows, texts, strict=True)]
        _remove(parts, effect, [row.slot for row in rows])
        _insert(parts, effect, number, list(zip(operation.ids, operation.vectors, metadata, texts, strict=True)))
        return len(rows)
    parts.catalog.set_texts([(row.slot, text) for row, text in zip(rows, texts, strict=True) if text is not None])
    if operation.metadata is not None:
        _set_metadata(parts, effect, rows, metadata)
    return len(rows)


def _delete(parts: Parts, effect: Effect, operation: Delete) -> int:
    if operation.ids is not None:
        slots = [row.slot for row in parts.catalog.own_rows(operation.ids).values()]
    else:
        assert operation.where is not None
        slots = matching_slots(parts, operation.where).tolist()
    parts.catalog.bury(slots, operation.at)
    _remove(parts, effect, slots)
    return len(slots)


def _remove(parts: Parts, effect: Effect, slots: Sequence[int]) -> None:
    parts.catalog.delete(slots)
    for slot in slots:
        effect.remove(slot)


def _insert(parts: Parts, effect: Effect, number: int, documents: Sequence[tuple[Id, np.ndarray, dict, Any]]) -> None:
    slots = parts.slots.take(len(documents)).tolist()
    rows, texts = [], []
    for slot, (key, vector, metadata, text) in zip(slots, documents, strict=True):
        effect.added[slot] = Added(key, vector, metadata)
        rows.append((slot, key, number, crc32c(vector.tobytes()), _json(metadata)))
        if text:
            texts.append((slot, text))
    parts.catalog.insert(rows, texts)


def _set_metadata(parts: Parts, effect: Effect, rows: Sequence[Row], metadata: Sequence[dict]) -> None:
    parts.catalog.set_metadata((_json(fields), row.slot) for row, fields in zip(rows, metadata, strict=True))
    for row, fields in zip(rows, metadata, strict=True):
        if row.slot in effect.added:
            effect.added[row.slot].metadata = fields
        else:
            effect.changed[row.slot] = fields


def _joined(row: Row, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**row.metadata, **fields}.items() if value is not None}


def _json(metadata: dict[str, Any] | None) -> str | None:
    return json.dumps(metadata, separators=(",", ":"), ensure_ascii=False) if metadata else None

"""Opening a collection: what is on the disk becomes what serves, whatever ended its last life."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile
from ..index import Index
from ..space import Space
from .applying import Parts
from .catalog import Catalog
from .columns import Columns
from .files import read_json, write_json
from .ids import SlotIds
from .index_folder import load_index
from .policy import FLAT, Plan
from .scan_index import ScanIndex
from .served_index import ServedIndex, Serving
from .slots import SlotAllocator
from .vector_file import VectorFile

COLLECTION, CATALOG, VECTORS, LOG, INDEX = "collection.json", "documents.sqlite", "vectors.rows", "log", "index"
_CHUNK = 4096


def write_space(folder: Path, space: Space) -> None:
    """Write what a new collection's vectors are; what makes a folder a collection."""
    write_json(folder / COLLECTION, {"format": 1, "element": space.element, "metric": space.metric, "dim": space.dim})


def read_space(folder: Path) -> Space:
    """Read what a collection's vectors are."""
    path = folder / COLLECTION
    content = read_json(path, "vectors, texts and metadata can be saved once it is written again")
    try:
        return Space(content["element"], content["metric"], content["dim"])
    except (KeyError, TypeError) as error:
        raise CorruptFile(path, 0, f"it does not say {error}", "it can be written again") from None


def open_parts(folder: Path, open_region: Callable[[str], Any], problems: list[str]) -> Parts:
    """Open what the database holds, without what is only in the log yet.

    Args:
        folder: of the collection.
        open_region: opens a tier by its URL.
        problems: to which is added what was made up for.

    Raises:
        CorruptFile: names the file, the offset, and what can be saved.
    """
    space = read_space(folder)
    catalog = Catalog(folder / CATALOG)
    try:
        file = VectorFile(folder / VECTORS, space)
    except BaseException:
        catalog.close()
        raise
    try:
        slots, ids, columns = _documents(catalog)
        if len(slots) and slots[-1] >= len(file.rows):
            raise CorruptFile(file.path, file.bytes, f"it has no row {slots[-1]}", "rows before it can be saved")
        parts = Parts(space, catalog, file, SlotAllocator(slots), ids, columns, _flat(file, slots))
        saved = load_index(folder / INDEX, space, catalog.state("applied"), open_region, problems)
        if saved is not None:
            parts.served = _caught_up(parts, saved.serving, saved.entry, saved.live, slots)
        parts.served.entry = catalog.state("applied")
        return parts
    except BaseException:
        file.close()
        catalog.close()
        raise


def close_parts(parts: Parts) -> None:
    """Close the files."""
    parts.file.close()
    parts.catalog.close()


def _documents(catalog: Catalog) -> tuple[NDArray[np.int64], SlotIds, Columns]:
    ids, columns, every = SlotIds(), Columns(), [np.zeros(0, np.int64)]
    part: list[Any] = []

    def take() -> None:
        slots = np.array([row.slot for row in part], np.int64)
        ids.set(slots, [row.id for row in part])
        columns.set(slots.tolist(), [row.metadata for row in part])
        every.append(slots)
        part.clear()

    for row in catalog.all_rows():
        part.append(row)
        if len(part) == _CHUNK:
            take()
    take()
    return np.concatenate(every), ids, columns


def _flat(file: VectorFile, slots: NDArray[np.int64]) -> ServedIndex:
    index: Index = ScanIndex(file)
    index.add(slots, file.rows[:0])
    return ServedIndex(file, Serving(index, Plan(FLAT, reason="all vectors are compared"), len(slots)), slots)


def _caught_up(
    parts: Parts, serving: Serving, entry: int, held: NDArray[np.int64], live: NDArray[np.int64]
) -> ServedIndex:
    """Bring a loaded index up to the database: its slots that are others' now, or nobody's, and those it lacks."""
    slots, entries = parts.catalog.entries()
    fresh = np.union1d(slots[entries > entry], np.setdiff1d(slots, held))
    served = ServedIndex(parts.file, serving, np.setdiff1d(held, fresh))
    served.apply(np.setdiff1d(held, np.setdiff1d(live, fresh)), fresh, 0)
    served.live[:] = False
    served.live[live] = True
    served.count = len(live)
    return served

"""A store with a data set in it, for benchmarks of what a user calls."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.vectors.data import VectorData
from benchmarks.vectors.fairlead_engines import space_of
from fairlead_tiered_retrieval.store.collection import Collection
from fairlead_tiered_retrieval.store.policy import Plan
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store

_AT_ONCE = 5_000


class Kept:
    """The plan that there is stays, whatever the size: a benchmark says itself which index it measures."""

    def choose(self, situation: Any) -> Plan:
        """Return the plan that there is."""
        return situation.plan


@contextmanager
def filled(
    data: VectorData, rows: NDArray, metadata: Sequence[dict], kind: str, seed: int, maintenance_s: float = 0
) -> Iterator[Collection]:
    """A collection of some rows by their number, with an index of a kind, on the disk of the data set."""
    settings = StoreSettings(maintenance_s=maintenance_s, seed=seed, threads=2)
    with tempfile.TemporaryDirectory(dir=data.folder) as folder:
        with Store(Path(folder), settings, policy=Kept()) as store:
            collection = store.create("measured", space_of(rows))
            for start in range(0, len(rows), _AT_ONCE):
                end = min(len(rows), start + _AT_ONCE)
                collection.upsert(range(start, end), rows[start:end], metadata[start:end])
            collection.rebuild(Plan(kind))
            collection.checkpoint()
            yield collection


def ids_of(collection: Collection, query: NDArray, k: int, **options: Any) -> NDArray[np.int64]:
    """Search for one query; ids of what was found."""
    return np.array([hit.id for hit in collection.search(query, k=k, include=(), **options).hits[0]], np.int64)

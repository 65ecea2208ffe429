"""Which shard a document belongs to, which replicas hold it, and how answers of shards become one. No I/O."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Id = str | int


class Holder(NamedTuple):
    """An instance that holds a shard. `address` None: this instance itself."""

    replica: int
    epoch: int
    address: str | None


def shard_of(document: Id, shards: int) -> int:
    """The shard of a document: by its id alone, so that every instance agrees. ``1`` and ``"1"`` are two ids."""
    kind = "i" if isinstance(document, int) else "s"
    return zlib.crc32(f"{kind}{document}".encode()) % shards


def split(documents: Sequence[Id], shards: int) -> dict[int, list[int]]:
    """The rows of each shard, in their order."""
    rows: dict[int, list[int]] = {}
    for row, document in enumerate(documents):
        rows.setdefault(shard_of(document, shards), []).append(row)
    return rows


def holders_of(shard: int, shards: int, holders: Sequence[Holder]) -> list[Holder]:
    """Those that hold a shard; the first is its leader, which orders its writes."""
    return sorted(holder for holder in holders if holder.replica % shards == shard)


def merged(answers: Sequence[Sequence[Mapping[str, Any]]], k: int) -> list[dict[str, Any]]:
    """The nearest k of one query's hits, of whichever shard; each answer is in order."""
    found = heapq.merge(*answers, key=lambda hit: hit["distance"])
    return [dict(hit) for _, hit in zip(range(k), found, strict=False)]

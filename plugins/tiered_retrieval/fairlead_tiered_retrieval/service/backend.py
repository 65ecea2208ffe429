"""What the API asks of whoever keeps the documents: one store, or many shards of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from .bodies import (
    Body,
    Calibrate,
    CreateCollection,
    Delete,
    Deletions,
    Get,
    Maintain,
    Move,
    Recall,
    Restore,
    Scan,
    Search,
    Snapshot,
    Upsert,
)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a search.

    Attributes:
        rows: of each query its hits, the nearest first: id, distance, and what was asked for.
        complete: False: a shard or a part of the tier did not answer.
        missing: the shards that did not.
        reads, round_trips, tier_bytes: of all queries together.
    """

    rows: list[list[Fields]]
    complete: bool = True
    missing: tuple[int, ...] = ()
    reads: int = 0
    round_trips: int = 0
    tier_bytes: int = 0
    elsewhere: Fields = field(default_factory=dict)

    def about(self) -> Fields:
        """Everything but the hits."""
        return {
            "complete": self.complete,
            "missing": list(self.missing),
            "reads": self.reads,
            "round_trips": self.round_trips,
            "tier_bytes": self.tier_bytes,
            **self.elsewhere,
        }


class Backend(Protocol):
    """Keeps collections. Everything may raise TieredRetrievalError."""

    async def names(self) -> list[str]: ...

    async def create(self, name: str, body: CreateCollection) -> Fields: ...

    async def drop(self, name: str) -> Fields: ...

    async def info(self, name: str) -> Fields: ...

    async def upsert(self, name: str, body: Upsert) -> Fields: ...

    async def delete(self, name: str, body: Delete) -> Fields: ...

    async def lead(self, name: str, what: str, body: Body) -> Fields:
        """Apply an upsert or delete for all replicas of this instance's shard."""
        ...

    async def get(self, name: str, body: Get) -> Fields: ...

    async def scan(self, name: str, body: Scan) -> Fields: ...

    async def deletions(self, name: str, body: Deletions) -> Fields: ...

    async def search(self, name: str, body: Search) -> Answer: ...

    async def recall(self, name: str, body: Recall) -> Fields: ...

    async def calibrate(self, name: str, body: Calibrate) -> Fields: ...

    async def move(self, name: str, body: Move) -> Fields: ...

    async def snapshot(self, name: str, body: Snapshot) -> Fields: ...

    async def restore(self, name: str, body: Restore) -> Fields: ...

    async def maintain(self, name: str, body: Maintain) -> Fields: ...

    async def tiers(self) -> Fields: ...

    async def stats(self) -> Fields: ...

"""The collections of this instance's own store, behind threads so that no request holds up another."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from ..embedding.lazy import LazyModel
from ..errors import TieredRetrievalError
from ..settings import Settings
from ..space import Space
from ..store.collection import Collection
from ..store.recall import RecallReport
from ..store.searching import Hit
from ..store.store import Store
from .backend import Answer, Fields
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
from .counters import Counters
from .errors import ApiError, bad_field
from .placement import Placement, tier_of

T = TypeVar("T")


class Local:
    """One store. `Backend`, and what metrics and facts read.

    Args:
        store: keeps the collections.
        placement: moves them.
        model: makes vectors of texts.
        settings: of the workload.
        threads: that search at the same time.
    """

    def __init__(self, store: Store, placement: Placement, model: LazyModel, settings: Settings, threads: int) -> None:
        self.store, self.placement, self._model, self.settings = store, placement, model, settings
        self._searching = ThreadPoolExecutor(max(2, threads), thread_name_prefix="search")
        self._writing = ThreadPoolExecutor(4, thread_name_prefix="write")
        self._long = ThreadPoolExecutor(2, thread_name_prefix="long")
        self.total = Counters()
        self.counters: dict[str, Counters] = {}
        self.recalls: dict[str, RecallReport] = {}

    def close(self) -> None:
        """Finish what is under way and close the store."""
        for pool in (self._searching, self._writing, self._long):
            pool.shutdown(cancel_futures=True)
        self.store.close()

    async def names(self) -> list[str]:
        """All collections."""
        return await self._in(self._writing, self.store.names)

    async def create(self, name: str, body: CreateCollection) -> Fields:
        """Make a collection, or find it as asked."""
        return await self._in(self._writing, self._create, name, body)

    async def drop(self, name: str) -> Fields:
        """Delete a collection."""

        def drop() -> Fields:
            self.store.drop(name)
            for known in (self.counters, self.recalls):
                known.pop(name, None)
            return {"dropped": name}

        return await self._in(self._long, drop)

    async def info(self, name: str) -> Fields:
        """What a collection is and how it is."""
        return await self._in(self._writing, self._info, name)

    async def upsert(self, name: str, body: Upsert) -> Fields:
        """Add or replace documents; makes vectors of texts where there are none."""
        return await self._in(self._writing, self._upsert, name, body)

    async def delete(self, name: str, body: Delete) -> Fields:
        """Delete documents."""

        def delete() -> Fields:
            collection = self.store.collection(name)
            count = collection.delete(body.ids) if body.filter is None else collection.delete(filter=body.filter)
            self.total.add("deleted", count)
            return {"deleted": count}

        return await self._in(self._writing, delete)

    async def lead(self, name: str, what: str, body: Body) -> Fields:
        """Apply a write; there are no replicas that this one knows."""
        return await getattr(self, what)(name, body)

    async def get(self, name: str, body: Get) -> Fields:
        """Documents by id."""

        def get() -> Fields:
            include = ("metadata", "text", "vector") if body.vectors else ("metadata", "text")
            found = self.store.collection(name).get(body.ids, include)
            return {"documents": [None if each is None else _fields(asdict(each)) for each in found]}

        return await self._in(self._searching, get)

    async def scan(self, name: str, body: Scan) -> Fields:
        """A page of documents."""

        def page() -> Fields:
            collection = self.store.collection(name)
            ids, after = collection.ids(body.after, body.count)
            found = collection.get(ids) if ids else []
            return {"documents": [_fields(asdict(each)) for each in found if each is not None], "next": after}

        return await self._in(self._long, page)

    async def deletions(self, name: str, body: Deletions) -> Fields:
        """A page of what was deleted."""

        def page() -> Fields:
            return asdict(self.store.collection(name).deleted(body.after, body.count))

        return await self._in(self._long, page)

    async def search(self, name: str, body: Search) -> Answer:
        """Search by vectors, words or both."""
        return await self._in(self._searching, self._search, name, body)

    async def recall(self, name: str, body: Recall) -> Fields:
        """Compare with exact search."""

        def compare() -> Fields:
            collection = self.store.collection(name)
            report = collection.recall_report(body.k, body.sample, self.settings.recall, sample=body.of)
            self.recalls[name] = report
            return _recall(report)

        return await self._in(self._long, compare)

    async def calibrate(self, name: str, body: Calibrate) -> Fields:
        """Measure effort by queries."""

        def measure() -> Fields:
            collection = self.store.collection(name)
            rows = None if body.vectors is None else _array("vectors", body.vectors, collection.space)
            before, after = collection.calibrate(rows, self.settings.recall)
            self.recalls[name] = after
            return {"before": _recall(before), "after": _recall(after)}

        return await self._in(self._long, measure)

    async def move(self, name: str, body: Move) -> Fields:
        """Move vectors to another tier."""
        return await self._in(self._long, self.placement.move, name, body.tier, body.url, body.index)

    async def snapshot(self, name: str, body: Snapshot) -> Fields:
        """Write a copy."""

        def copy() -> Fields:
            collection = self.store.collection(name)
            folder = collection.snapshot(body.name or time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            return {"folder": str(folder), "name": folder.name, "count": collection.count(), "bytes": size}

        return await self._in(self._long, copy)

    async def restore(self, name: str, body: Restore) -> Fields:
        """Make a new collection of a snapshot."""

        def restored() -> Fields:
            if body.into in self.store.names():
                raise ApiError(409, f"collection {body.into!r} is there; accepted: another name", kind="exists")
            self.store.restore(name, body.snapshot, body.into)
            return self._info(body.into)

        return await self._in(self._long, restored)

    async def maintain(self, name: str, body: Maintain) -> Fields:
        """Work about so long."""

        def work() -> Fields:
            collection, end = self.store.collection(name), time.monotonic() + body.budget_s
            left = collection.maintain()
            while not left.finished and time.monotonic() < end:
                left = collection.maintain()
            return {**left._asdict(), "finished": left.finished}

        return await self._in(self._long, work)

    async def tiers(self) -> Fields:
        """Where vectors may lie, and what lies there."""
        return await self._in(self._writing, self._tiers)

    async def stats(self) -> Fields:
        """Of all collections together."""
        return await self._in(self._writing, self._stats)

    # --- in threads --------------------------------------------------------------------------------------------------

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., T], *given: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *given)

    def _create(self, name: str, body: CreateCollection) -> Fields:
        space = Space(body.element, body.metric, body.dim or self._model.dim())
        if name not in self.store.names():
            self.store.create(name, space)
        there = self.store.collection(name).space
        if there != space:
            asked, has = (f"{each.dim} {each.element}, {each.metric}" for each in (space, there))
            raise ApiError(409, f"collection {name!r} is there with {has}; asked: {asked}", kind="exists")
        return self._info(name)

    def _info(self, name: str) -> Fields:
        collection = self.store.collection(name)
        status, space = collection.status(), collection.space
        progress, sizes = status.progress, status.sizes
        found: Fields = {
            "name": name,
            "count": status.count,
            "dim": space.dim,
            "element": space.element,
            "metric": space.metric,
            "index": status.plan.kind,
            "tier": tier_of(status.plan),
            "region": status.plan.region,
            "reason": status.plan.reason,
            "dram_bytes": status.memory_bytes,
            "tier_bytes": sizes.tier_bytes if status.plan.region else 0,
            "disk_bytes": status.disk_bytes,
            "progress": {**progress._asdict(), "finished": progress.finished},
            "problems": list(status.problems),
            "snapshots": collection.snapshots(),
            "searches": self._counted(name).report(),
        }
        return {**found, "recall": _recall(self.recalls[name])} if name in self.recalls else found

    def _upsert(self, name: str, body: Upsert) -> Fields:
        collection = self.store.collection(name)
        self._check_batch("ids", len(body.ids))
        vectors = body.vectors
        if vectors is None:
            vectors = self._embedded(body.texts or [], collection)
        rows = _array("vectors", vectors, collection.space)
        count = collection.upsert(body.ids, rows, body.metadata, body.texts)
        self.total.add("upserted", count)
        return {"upserted": count}

    def _search(self, name: str, body: Search) -> Answer:
        collection, began = self.store.collection(name), time.perf_counter()
        vectors, words = self._queries(body, collection)
        self._check_batch("queries", len(vectors if vectors is not None else words or ()))
        found = collection.search(
            vectors,
            words,
            body.k,
            filter=body.filter,
            recall=body.recall or self.settings.recall,
            include=body.include,
        )
        answer = Answer(
            [[_hit(hit) for hit in hits] for hits in found.hits],
            found.complete,
            (),
            int(found.reads.sum()),
            int(found.round_trips.sum()),
            int(found.tier_bytes.sum()),
        )
        seconds = time.perf_counter() - began
        for counters in (self.total, self._counted(name)):
            counters.searched(len(found.hits), seconds, answer.reads, answer.round_trips, answer.tier_bytes)
        return answer

    def _queries(self, body: Search, collection: Collection) -> tuple[Any, list[str] | None]:
        words = body.words()
        given = [body.vector] if body.vector is not None else body.vectors
        rows = None if given is None else _array("vectors", given, collection.space)
        mode = body.mode or ("vector" if rows is None or words is None else "hybrid")
        if mode == "text":
            return None, words
        if rows is None:
            rows = self._embedded(words or [], collection)
        return rows, words if mode == "hybrid" else None

    def _embedded(self, texts: list[Any], collection: Collection) -> Any:
        dim = self._model.dim()
        if dim != collection.space.dim:
            raise TieredRetrievalError(
                f"vectors of {self._model.name} have {dim} dimensions, the collection's {collection.space.dim}; "
                "accepted: vectors"
            )
        return self._model.embed(texts)

    def _check_batch(self, field: str, count: int) -> None:
        if not 1 <= count <= self.settings.max_batch:
            raise bad_field(field, f"{count} rows", f"1 to {self.settings.max_batch} in one request")

    def _tiers(self) -> Fields:
        where = {"dram": "this process", "file": str(self.placement.folder)}
        where["memory"] = ", ".join(self.placement.memory_nodes) or "none named (memory_nodes)"
        infos = [self._info(name) for name in self.store.names()]
        rows = []
        for tier, place in where.items():
            there = [each for each in infos if each["tier"] == tier]
            key = "dram_bytes" if tier == "dram" else "tier_bytes"
            size = sum(each[key] for each in there)
            rows.append({"tier": tier, "where": place, "collections": [each["name"] for each in there], "bytes": size})
        return {"tiers": rows}

    def _stats(self) -> Fields:
        return {
            "collections": len(self.store.names()),
            "memory_bytes": self.store.memory.used,
            "memory_limit_bytes": self.store.memory.budget,
            "moves": self.placement.moves,
            "dropped": self.store.dropped(),
            **self.total.counts,
            **self.total.report(),
        }

    def _counted(self, name: str) -> Counters:
        return self.counters.setdefault(name, Counters())


def _array(field: str, given: Any, space: Space) -> Any:
    """Rows of numbers as an array; the store checks the rest."""
    if isinstance(given, np.ndarray):
        return given
    try:
        rows = np.asarray(given)
        if rows.dtype.kind == "f":
            return rows.astype(np.float32) if space.element != "float16" else rows
        if rows.dtype.kind in "iu":
            return rows
    except (TypeError, ValueError):
        pass
    raise bad_field(field, given, f"rows of {space.columns} numbers")


def _hit(hit: Hit) -> Fields:
    distance = hit.distance if hit.distance is not None and hit.score == -hit.distance else -hit.score
    return {
        "id": hit.id,
        "distance": _finite(distance),
        **_fields({"text": hit.text, "metadata": hit.metadata, "vector": hit.vector}),
    }


def _fields(found: Fields) -> Fields:
    """Without what is not there, arrays as lists."""
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 3.0e38


def _recall(report: RecallReport) -> Fields:
    return {**asdict(report), "high": min(1.0, 2 * report.recall - report.low)}

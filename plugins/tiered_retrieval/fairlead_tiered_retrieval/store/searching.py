"""Searching a collection: by vector, by words, by both, among all or among those that a filter lets through."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distances import nearest
from ..errors import TieredRetrievalError
from ..index import Found
from ..space import check_vectors
from .applying import Parts
from .documents import Id
from .filters import Filter
from .fusion import Fusion, Ranked, fuse
from .seen import SeenQueries

MOST_K = 1 << 16
INCLUDES = ("metadata", "text", "vector")
#: Candidates of each ranking that are fused: so many times k, and at least.
_DEEPER, _DEEP = 4, 64
#: Filters whose answers are kept until something changes.
_KEPT = 16
#: Seconds of a scan that is not worth a comparison, and of so many others one is: see `Speeds`.
_SHORT_S, _TRIED_AGAIN = 2e-5, 64
#: How often a search is done again that deletes overtook.
_TRIES = 5
Mask = NDArray[np.bool_]


class Allowed:
    """The slots that a search may find: as flags, as numbers, as bits; each is made when it is first asked for."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The lowest bit of a byte first."""
        return np.packbits(self.mask, bitorder="little")


@dataclass(slots=True)
class Hit:
    """A document that was found.

    Attributes:
        id: of the document.
        score: larger is better: the negative distance, BM25, or what the fusion makes of both.
        distance: of its vector, smaller is nearer; None: found by its words only.
        metadata: its fields, text and vector: where they were asked for.
    """

    id: Id
    score: float
    distance: float | None = None
    metadata: dict[str, Any] | None = None
    text: str | None = None
    vector: NDArray | None = None


@dataclass(slots=True)
class Results:
    """What a search found.

    Attributes:
        hits: of each query, the best first.
        reads: int32 [queries]: exact vectors that were read from the tier.
        round_trips: int32 [queries]: batches of reads that waited for one another.
        tier_bytes: int64 [queries]: read from the tier.
        complete: False: a part of the tier did not answer.
        how: ``index``, ``scan`` (all that were allowed were compared), ``words`` or ``both``.
        lost: slots of documents that were found and could not be read any more, or not yet; they are missing.
    """

    hits: list[list[Hit]]
    reads: NDArray[np.int32]
    round_trips: NDArray[np.int32]
    tier_bytes: NDArray[np.int64]
    complete: bool = True
    how: str = "index"
    lost: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def overtaken(self) -> bool:
        """Whether any are missing."""
        return len(self.lost) > 0


@dataclass(slots=True)
class Speeds:
    """Seconds that a query through the index and that a compared row took lately: what decides between the two."""

    query_s: float = 1e-4
    row_s: float = 3e-7
    walks: dict[int, float] = field(default_factory=dict)
    """Seconds that a query under a filter took through the index, by the power of two of how few are allowed."""
    passed: dict[int, int] = field(default_factory=dict)
    """Scans that were chosen since such a walk was measured."""

    def scan_is_cheaper(self, allowed: int, count: int) -> bool:
        """Whether comparing all allowed costs less than the index, which knows filters too, takes to find as many.

        A scan that is chosen teaches nothing about the index: now and then that is tried again.
        """
        power, scan_s = _power(count / max(allowed, 1)), allowed * self.row_s
        if scan_s > self.walks.get(power, min(self.query_s, _SHORT_S)):
            return False
        self.passed[power] = self.passed.get(power, 0) + 1
        return scan_s <= _SHORT_S or self.passed[power] % _TRIED_AGAIN > 0

    def note_walk(self, allowed: int, count: int, seconds: float, queries: int) -> None:
        """Take a measured walk under a filter into the running mean of those alike."""
        if queries and allowed:
            power, each = _power(count / allowed), seconds / queries
            kept = 0.5 if self.passed.pop(power, 0) else 0.9
            self.walks[power] = kept * self.walks.get(power, each) + (1 - kept) * each

    def note(self, name: str, seconds: float, units: int) -> None:
        """Take a measurement into the running mean."""
        if units:
            setattr(self, name, 0.9 * getattr(self, name) + 0.1 * seconds / units)


@dataclass(slots=True)
class Searcher:
    """Searches the parts of one collection; any number of threads may.

    Attributes:
        parts: of the collection.
        threads: that share a batch of queries.
        seen: queries by vectors that came without a filter.
        clock: seconds, only differences count.
    """

    parts: Parts
    threads: int
    clock: Callable[[], float] = time.perf_counter
    speeds: Speeds = field(default_factory=Speeds)
    seen: SeenQueries = field(default_factory=SeenQueries)
    _masks: dict[tuple[str, int, int], Allowed] = field(default_factory=dict)

    def search(
        self,
        vectors: ArrayLike | None,
        texts: Sequence[str] | None,
        k: int,
        condition: Filter | None,
        recall: float,
        fusion: Fusion,
        include: Sequence[str],
    ) -> Results:
        """Return the best k of each query; see `Collection.search`."""
        if vectors is None and texts is None:
            raise TieredRetrievalError("search without vector and text; accepted: one of them, or both")
        _check(k, recall, include)
        queries = None if vectors is None else check_vectors(vectors, self.parts.space, "queries")
        if queries is not None and texts is not None and len(queries) != len(texts):
            raise TieredRetrievalError(f"{len(texts)} texts for {len(queries)} vectors; accepted: as many of both")
        if queries is not None and condition is None and recall < 1:
            self.seen.note(queries)
        lost = np.zeros(0, np.int64)
        for _ in range(_TRIES):
            with self.parts.slots.reading():
                allowed = self._without(lost, None if condition is None else self._allowed(condition))
                if texts is None:
                    assert queries is not None
                    results = self._by_vector(queries, k, allowed, recall, include)
                else:
                    results = self._with_words(queries, texts, k, allowed, recall, fusion, include)
            if not results.overtaken:
                break
            lost = np.union1d(lost, results.lost)
        return results

    def _without(self, lost: NDArray[np.int64], allowed: Allowed | None) -> Allowed | None:
        """Those without slots that could not be read: of documents that go, or that come and are not shown yet."""
        if not len(lost):
            return allowed
        kept = (self.parts.served.live if allowed is None else allowed.mask).copy()
        kept[lost[lost < len(kept)]] = False
        return Allowed(kept)

    def nearest(self, queries: NDArray, k: int, allowed: Allowed | None, recall: float) -> tuple[Found, str]:
        """Return the nearest slots, and how they were found; k of them wherever there are k."""
        parts, began = self.parts, self.clock()
        count = parts.served.count
        if recall == 1:
            slots = parts.served.live_slots() if allowed is None else allowed.slots
            return self._scanned(queries, k, slots), "scan"
        if allowed is not None and self.speeds.scan_is_cheaper(len(allowed.slots), count):
            return self._scanned(queries, k, allowed.slots), "scan"
        bits = None if allowed is None else allowed.bits
        found = parts.served.search(queries, k, recall=recall, allowed=bits, threads=self.threads)
        found = self._filled(queries, k, allowed, found)
        if allowed is None:
            self.speeds.note("query_s", self.clock() - began, len(queries))
        else:
            self.speeds.note_walk(len(allowed.slots), count, self.clock() - began, len(queries))
        return found, "index"

    def _allowed(self, condition: Filter) -> Allowed:
        """Which slots a filter lets through."""
        columns = self.parts.columns
        # repr tells True from 1, which are one key of a dictionary.
        # What is live is marked before its entry is shown: a mask that saw half of a change has a key of before.
        key = (repr(condition), columns.version, self.parts.served.entry)
        allowed = self._masks.get(key)
        if allowed is None:
            live = self.parts.served.live
            allowed = Allowed(columns.matching(condition, len(live)) & live)
            while len(self._masks) >= _KEPT:
                self._masks.pop(next(iter(self._masks), key), None)
            self._masks[key] = allowed
        return allowed

    def _scanned(self, queries: NDArray, k: int, allowed: NDArray[np.int64]) -> Found:
        began = self.clock()
        slots, distances = nearest(queries, self.parts.file.rows, allowed, k, self.parts.space)
        self.speeds.note("row_s", self.clock() - began, len(allowed) * len(queries))
        none = np.zeros(len(queries), np.int32)
        return Found(slots, distances, none, none, none.astype(np.int64))

    def _filled(self, queries: NDArray, k: int, allowed: Allowed | None, found: Found) -> Found:
        """Compare with all that are allowed where an index found fewer than there are."""
        if not (found.slots[:, -1] < 0).any():
            return found
        among = self.parts.served.live if allowed is None else allowed.mask
        wanted = min(k, int(np.count_nonzero(among)))
        short = np.flatnonzero((found.slots >= 0).sum(axis=1) < wanted)
        if len(short) and found.complete:
            more = self._scanned(queries[short], k, np.flatnonzero(among.copy()))
            found.slots[short], found.distances[short] = more.slots, more.distances
        return found

    def _by_vector(
        self, queries: NDArray, k: int, allowed: Allowed | None, recall: float, include: Sequence[str]
    ) -> Results:
        found, how = self.nearest(queries, k, allowed, recall)
        hits, lost = [], list[int]()
        for slots, distances in zip(found.slots.tolist(), found.distances.tolist(), strict=True):
            ranked = [(slot, -distance) for slot, distance in zip(slots, distances, strict=True) if slot >= 0]
            hits.append(self._hits(ranked, {slot: -score for slot, score in ranked}, include, lost))
        return _results(hits, found, how, lost)

    def _with_words(
        self,
        queries: NDArray | None,
        texts: Sequence[str],
        k: int,
        allowed: Allowed | None,
        recall: float,
        fusion: Fusion,
        include: Sequence[str],
    ) -> Results:
        deep = k if queries is None else max(_DEEP, _DEEPER * k)
        none = np.zeros(len(texts), np.int32)
        found = Found(none, none, none, none, none.astype(np.int64))
        if queries is not None:
            found, _ = self.nearest(queries, deep, allowed, recall)
        hits, lost = [], list[int]()
        for row, text in enumerate(texts):
            by_words: Ranked = self.parts.catalog.matching(text, self._keep(allowed), deep)
            near: dict[int, float] = {}
            if queries is not None:
                slots, distances = found.slots[row].tolist(), found.distances[row].tolist()
                near = {slot: distance for slot, distance in zip(slots, distances, strict=True) if slot >= 0}
                by_words = fuse([(slot, -distance) for slot, distance in near.items()], by_words, fusion, k)
            hits.append(self._hits(by_words, near, include, lost))
        return _results(hits, found, "words" if queries is None else "both", lost)

    def _keep(self, allowed: Allowed | None) -> Callable[[int], bool]:
        among = self.parts.served.live if allowed is None else allowed.mask
        return lambda slot: slot < len(among) and bool(among[slot])

    def _hits(self, ranked: Ranked, near: dict[int, float], include: Sequence[str], lost: list[int]) -> list[Hit]:
        slots = [slot for slot, _ in ranked]
        hits = [
            Hit(key, score, near.get(slot)) for key, (slot, score) in zip(self.parts.ids.of(slots), ranked, strict=True)
        ]
        if "metadata" in include:
            fields = self.parts.catalog.metadata(slots)
            # What is not there was deleted while this search was under way, or is just being written.
            lost += [slot for slot in slots if slot not in fields]
            hits = [hit for slot, hit in zip(slots, hits, strict=True) if slot in fields]
            slots = [slot for slot in slots if slot in fields]
            for slot, hit in zip(slots, hits, strict=True):
                hit.metadata = fields[slot]
        if "text" in include:
            texts = self.parts.catalog.texts(slots)
            for slot, hit in zip(slots, hits, strict=True):
                hit.text = texts.get(slot)
        if "vector" in include:
            for slot, hit in zip(slots, hits, strict=True):
                hit.vector = self.parts.file.rows[slot].copy()
        return hits


def _results(hits: list[list[Hit]], found: Found, how: str, lost: list[int]) -> Results:
    gone = np.unique(np.array(lost, np.int64))
    return Results(hits, found.reads, found.round_trips, found.tier_bytes, found.complete, how, gone)


def _power(fewer: float) -> int:
    return max(0, round(math.log2(max(fewer, 1.0))))


def _check(k: int, recall: float, include: Sequence[str]) -> None:
    if not isinstance(k, int) or not 1 <= k <= MOST_K:
        raise TieredRetrievalError(f"k = {k!r}; accepted: 1 to {MOST_K}")
    if not 0 < recall <= 1:
        raise TieredRetrievalError(f"recall = {recall!r}; accepted: above 0, up to 1")
    for name in include:
        if name not in INCLUDES:
            raise TieredRetrievalError(f"include: {name!r}; accepted: {', '.join(INCLUDES)}")

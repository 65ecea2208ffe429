"""How many of the true nearest a collection finds, by exact search: for a sample of its own vectors, or for the
queries that came of late; and an index measured anew by those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..distances import nearest
from ..errors import TieredRetrievalError
from .searching import Searcher
from .seen import ENOUGH, KEPT

MOST_QUERIES, MOST_CALIBRATED = 10_000, 1_000
#: Neighbours that an index is calibrated by, and queries that this takes: half to measure by, half to check.
CALIBRATED_K, LEAST_QUERIES = 10, 40
Sample = Literal["vectors", "queries"]


@dataclass(frozen=True, slots=True)
class RecallReport:
    """What a sample showed.

    Attributes:
        recall: mean share of the true k nearest that were found.
        low: its lower 95 % confidence bound.
        asked: recall that the searches were asked for.
        k: neighbours of each query.
        queries: in the sample.
        count: vectors in the collection.
        index: kind of the index.
        reads: exact vectors that a query read from the tier, on average.
        tier_bytes: that a query read from the tier, on average.
        sample: what was searched for: stored ``vectors``, or ``queries`` as they came.
    """

    recall: float
    low: float
    asked: float
    k: int
    queries: int
    count: int
    index: str
    reads: float
    tier_bytes: float
    sample: Sample = "vectors"

    @property
    def short(self) -> bool:
        """Whether what was asked for lies above the upper 95 % confidence bound."""
        return 2 * self.recall - self.low < self.asked


def recall_report(
    searcher: Searcher, k: int, queries: int, recall: float, seed: int, sample: Sample = "vectors"
) -> RecallReport:
    """Search for stored vectors, drawn by a seed, or for queries that came, and compare with exact search.

    A stored vector that is searched for is itself left out.

    Raises:
        TieredRetrievalError: a value that is not accepted, fewer than two vectors, or too few queries came.
    """
    if not 1 <= k <= 1000 or not 1 <= queries <= MOST_QUERIES:
        raise TieredRetrievalError(f"k = {k}, queries = {queries}; accepted: 1 to 1000, 1 to {MOST_QUERIES}")
    parts = searcher.parts
    with parts.slots.reading():
        live = _live(searcher, 2)
        if sample == "queries":
            rows = seen_queries(searcher, queries)
            return _report(searcher, rows, np.full(len(rows), -1, np.int64), live, k, recall)
        own = np.random.default_rng(seed).choice(live, min(queries, len(live)), replace=False)
        return _report(searcher, np.ascontiguousarray(parts.file.rows[own]), own, live, k, recall)


def calibrated(searcher: Searcher, queries: NDArray, recall: float, seed: int) -> tuple[RecallReport, RecallReport]:
    """Measure the index anew by one half of some queries; return what the other half showed before and shows after.

    Raises:
        TieredRetrievalError: there are too few queries or vectors.
    """
    if len(queries) < LEAST_QUERIES:
        raise TieredRetrievalError(f"{len(queries)} queries to calibrate by; accepted: {LEAST_QUERIES} and more")
    parts = searcher.parts
    drawn = np.random.default_rng(seed).permutation(len(queries))[:MOST_CALIBRATED]
    measured_by, checked_by = (np.ascontiguousarray(queries[part]) for part in np.array_split(drawn, 2))
    with parts.slots.reading():
        live = _live(searcher, CALIBRATED_K)
        none = np.full(len(checked_by), -1, np.int64)
        before = _report(searcher, checked_by, none, live, CALIBRATED_K, recall)
        true, _ = nearest(measured_by, parts.file.rows, live, CALIBRATED_K, parts.space)
        parts.served.calibrate(measured_by, true)
        return before, _report(searcher, checked_by, none, live, CALIBRATED_K, recall)


def seen_queries(searcher: Searcher, most: int = KEPT) -> NDArray:
    """Return distinct queries that came of late.

    Raises:
        TieredRetrievalError: they are too few to say anything.
    """
    rows = searcher.seen.rows(most)
    if len(rows) < min(ENOUGH, most):
        raise TieredRetrievalError(f"{len(rows)} different queries came since the start; accepted: {ENOUGH} and more")
    return rows


def _live(searcher: Searcher, least: int) -> NDArray[np.int64]:
    live = searcher.parts.served.live_slots()
    if len(live) < least:
        raise TieredRetrievalError(f"recall of {len(live)} vectors; accepted: {least} and more")
    return live


def _report(
    searcher: Searcher, rows: NDArray, own: NDArray[np.int64], live: NDArray[np.int64], k: int, recall: float
) -> RecallReport:
    """Of rows that are searched for; own [rows]: the slot of each, -1: it is none of those stored."""
    parts, stored = searcher.parts, bool((own >= 0).any())
    found, _ = searcher.nearest(rows, k + stored, None, recall)
    slots, _ = nearest(rows, parts.file.rows, live, k + stored, parts.space)
    shares = [_share(*of_query) for of_query in zip(own, found.slots, slots, [k] * len(rows), strict=True)]
    mean = float(np.mean(shares))
    deviation = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return RecallReport(
        recall=mean,
        low=max(0.0, mean - 1.96 * deviation / math.sqrt(len(shares))),
        asked=recall,
        k=k,
        queries=len(rows),
        count=len(live),
        index=parts.served.serving.plan.kind,
        reads=float(found.reads.mean()),
        tier_bytes=float(found.tier_bytes.mean()),
        sample="vectors" if stored else "queries",
    )


def _share(own: int, found: NDArray[np.int64], true: NDArray[np.int64], k: int) -> float:
    wanted = [int(slot) for slot in true if slot >= 0 and slot != own][:k]
    return len(set(wanted).intersection(found.tolist())) / max(1, len(wanted))

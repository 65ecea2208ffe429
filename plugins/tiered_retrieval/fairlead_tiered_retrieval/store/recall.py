"""How many of the true nearest a collection finds: by exact search for a sample of its own vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..distances import nearest
from ..errors import TieredRetrievalError
from .searching import Searcher

MOST_QUERIES = 10_000


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


def recall_report(searcher: Searcher, k: int, queries: int, recall: float, seed: int) -> RecallReport:
    """Search for stored vectors, drawn by a seed, and compare with exact search; each query itself is left out.

    A tie at the last place counts as found (as ann-benchmarks has it, by distance).

    Raises:
        TieredRetrievalError: a value that is not accepted, or fewer than two vectors.
    """
    if not 1 <= k <= 1000 or not 1 <= queries <= MOST_QUERIES:
        raise TieredRetrievalError(f"k = {k}, queries = {queries}; accepted: 1 to 1000, 1 to {MOST_QUERIES}")
    parts = searcher.parts
    with parts.slots.reading():
        live = parts.served.live_slots()
        if len(live) < 2:
            raise TieredRetrievalError(f"a recall report of {len(live)} vectors; accepted: 2 and more")
        drawn = np.random.default_rng(seed).choice(live, min(queries, len(live)), replace=False)
        rows = np.ascontiguousarray(parts.file.rows[drawn])
        found, _ = searcher.nearest(rows, k + 1, None, recall)
        slots, distances = nearest(rows, parts.file.rows, live, k + 1, parts.space)
    shares = [_share(*of_query) for of_query in zip(drawn, found.slots, slots, distances, strict=True)]
    # Exact distances of what was found decide ties; slots alone would not.
    mean = float(np.mean(shares))
    deviation = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return RecallReport(
        recall=mean,
        low=max(0.0, mean - 1.96 * deviation / math.sqrt(len(shares))),
        asked=recall,
        k=k,
        queries=len(drawn),
        count=len(live),
        index=parts.served.serving.plan.kind,
        reads=float(found.reads.mean()),
        tier_bytes=float(found.tier_bytes.mean()),
    )


def _share(own: int, found: np.ndarray, true: np.ndarray, distances: np.ndarray) -> float:
    wanted = [int(slot) for slot in true if slot >= 0 and slot != own]
    wanted = wanted[: len(true) - 1]
    return len(set(wanted).intersection(found.tolist())) / max(1, len(wanted))

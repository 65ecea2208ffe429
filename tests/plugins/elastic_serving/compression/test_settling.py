"""What moves when rows settle: exactly what is neither young, nor shared, nor significant."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead_elastic_serving.compression.settling import Tier, decide, gaps, ranked

WINDOW = 4


def rows_of(seed: int, rows: int, longest: int) -> tuple[Tier, Tier, np.ndarray]:
    random = np.random.default_rng(seed)
    tiers = []
    for _ in range(2):
        counts = random.integers(0, longest + 1, rows).astype(np.int32)
        scores = random.choice([0.0, 0.3, 0.6, 2.0], (rows, longest)).astype(np.float32)
        positions = random.integers(0, 20, (rows, longest)).astype(np.int32)
        tiers.append(Tier(scores, positions, random.random((rows, longest)) < 0.2, counts))
    return tiers[0], tiers[1], random.integers(15, 25, rows).astype(np.int32)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), longest=st.integers(0, 12))
def test_every_token_stays_moves_down_or_is_pruned_by_its_significance(seed: int, rows: int, longest: int) -> None:
    high, low, now = rows_of(seed, rows, longest)
    step = decide(high, low, now, (np.full(rows, 1.0, np.float32), np.full(rows, 0.5, np.float32)), WINDOW)
    for row, place in np.ndindex(rows, longest):
        there = place < high.counts[row]
        kept = high.shared[row, place] or now[row] - high.positions[row, place] < WINDOW
        score = high.scores[row, place]
        assert step.high_stays[row, place] == (there and (kept or score > 1.0))
        assert step.to_low[row, place] == (there and not kept and 0.5 <= score <= 1.0)
        stays = place < low.counts[row] and (low.shared[row, place] or low.scores[row, place] >= 0.5)
        assert step.low_stays[row, place] == stays
    assert (step.counts[:, 0] == step.high_stays.sum(axis=1)).all()
    assert (step.counts.sum(axis=1) <= high.counts + low.counts).all()


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), longest=st.integers(0, 12))
def test_filled_gaps_leave_what_stays_without_holes(seed: int, rows: int, longest: int) -> None:
    stays = np.random.default_rng(seed).random((rows, longest)) < 0.5
    content = np.where(stays, np.arange(longest), -1)
    row, source, target = gaps(stays)
    assert not set(zip(row.tolist(), source.tolist(), strict=True)) & set(
        zip(row.tolist(), target.tolist(), strict=True)
    )
    content[row, target] = content[row, source]
    for one, kept in zip(content, stays, strict=True):
        assert sorted(one[: kept.sum()]) == np.flatnonzero(kept).tolist()


def test_tokens_are_numbered_within_their_rows() -> None:
    row, place, number = ranked(np.array([[False, True, True], [True, False, True]]))
    assert (row.tolist(), place.tolist(), number.tolist()) == ([0, 0, 1, 1], [1, 2, 0, 2], [0, 1, 0, 1])

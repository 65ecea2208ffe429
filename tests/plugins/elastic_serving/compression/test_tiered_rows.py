"""Rows of whole sequences: no token is lost that was not pruned, shared pages are left alone, pages come back."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="rows are computed in torch")

from fairlead_elastic_serving.arena.formats import K32V32  # noqa: E402
from fairlead_elastic_serving.arena.page_arena import PageArena  # noqa: E402
from fairlead_elastic_serving.arena.page_tables import HIGH, LOW, PageTables  # noqa: E402
from fairlead_elastic_serving.compression.tiered_rows import TieredRows  # noqa: E402
from fairlead_elastic_serving.kernels import reference  # noqa: E402
from fairlead_elastic_serving.kernels.backends import backend  # noqa: E402
from fairlead_elastic_serving.kernels.placement import Thresholds  # noqa: E402
from fairlead_elastic_serving.kernels.segments import segments  # noqa: E402
from fairlead_elastic_serving.kernels.tiers import Tiers  # noqa: E402
from fairlead_elastic_serving.memory import PageMemory  # noqa: E402

LAYERS, HEADS, DIM, WINDOW = 2, 2, 8, 4
TIERS = Tiers.of(K32V32, K32V32, DIM, 320)


def rows_over(pages: int, high: float = 1.0, low: float = 0.5, kernels: str = "torch") -> TieredRows:
    tables = PageTables(PageArena(pages), 4 * LAYERS * HEADS, 30, (TIERS.high.tokens, TIERS.low.tokens))
    alphas = Thresholds(np.full((LAYERS, HEADS), high, np.float32), np.full((LAYERS, HEADS), low, np.float32))
    return TieredRows(tables, PageMemory(pages, 320), TIERS, backend("cpu", kernels), alphas, WINDOW)


def stored(subject: TieredRows, row: int) -> dict[int, tuple[int, float]]:
    """Position, tier and first key element of a row's tokens."""
    found: dict[int, tuple[int, float]] = {}
    for tier in (HIGH, LOW):
        count = int(subject.tables.counts[row, tier])
        keys, _, _, positions = reference.read(
            subject.memory.pages, subject.tiers, tier, subject.tables.tables[row], count
        )
        found |= {int(at): (tier, float(key[0])) for at, key in zip(positions, keys, strict=True)}
    return found


def prompt(subject: TieredRows, scores: np.ndarray) -> np.ndarray:
    """Store a prompt whose keys are its positions; float32 [tokens] is every head's significance."""
    rows = subject.tables.open(LAYERS * HEADS)
    every = np.broadcast_to(scores[None, :, None], (LAYERS, len(scores), HEADS)).astype(np.float32)
    vectors = torch.arange(float(len(scores)))[:, None, None].expand(-1, HEADS, DIM).contiguous()
    for layer, placed in enumerate(subject.place(every)):
        some = np.ascontiguousarray(every[layer])
        subject.store(rows.reshape(LAYERS, HEADS)[layer], placed, vectors, vectors, some, 0)
    return rows


def append(subject: TieredRows, rows: np.ndarray, position: int) -> None:
    subject.grow(rows)
    vectors = torch.full((1, HEADS, DIM), float(position))
    for layer_rows in rows.reshape(LAYERS, HEADS):
        subject.append(layer_rows[None].copy(), vectors, vectors, np.array([position], np.int32))


def test_a_prompt_is_placed_and_settles_as_it_grows() -> None:
    subject = rows_over(200)
    scores = np.tile([2.0, 0.7, 0.1], 10)
    rows = prompt(subject, scores)
    for position in range(30, 42):
        append(subject, rows, position)
    # No attention came in: what leaves the window has no significance, what was in it keeps its own.
    subject.settle(rows[None], np.array([41], np.int32))
    expected = {at: (HIGH if scores[at] > 1 else LOW, float(at)) for at in range(30) if scores[at] >= 0.5}
    expected |= {at: (HIGH, float(at)) for at in range(38, 42)}
    for row in rows:
        assert stored(subject, row) == expected
    subject.tables.check()


def test_pages_that_the_high_tier_leaves_serve_the_low_one_in_the_same_step() -> None:
    tokens = TIERS.high.tokens
    subject = rows_over(LAYERS * HEADS * 8, high=1.0)
    rows = prompt(subject, np.full(5 * tokens, 2.0))
    subject.tables.arena.take(subject.tables.arena.free)
    # Everything falls below the high threshold at once: five pages become four, and no page is free before.
    segments(subject.memory.pages, TIERS.high).scores[:] = 0.7
    subject.settle(rows[None], np.array([5 * tokens - 1], np.int32))
    assert (subject.tables.counts[rows] == [WINDOW, 5 * tokens - WINDOW]).all()
    assert sorted(stored(subject, rows[0])) == list(range(5 * tokens))


def test_forks_leave_shared_pages_alone_and_write_to_their_own() -> None:
    subject = rows_over(300)
    rows = prompt(subject, np.tile([2.0, 0.7], 13))
    before = stored(subject, rows[0])
    target = subject.tables.open(LAYERS * HEADS)
    subject.tables.fork(rows, target)
    for position in range(26, 50):
        append(subject, target, position)
    subject.settle(target[None], np.array([49], np.int32))
    assert stored(subject, rows[0]) == before
    kept = stored(subject, target[0])
    assert all(kept[at][1] == at for at in kept) and set(range(46, 50)) < set(kept)
    subject.tables.check()
    subject.tables.close(rows)
    subject.settle(target[None], np.array([49], np.int32))
    subject.tables.close(target)
    assert subject.tables.arena.used == 0

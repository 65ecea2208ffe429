"""What recall costs: efforts are tried until they find no more, and the cheapest for a tier's reads is taken."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_kernels.vector_lists import ListEffort, ListsFound
from fairlead_tiered_retrieval.index import Limits
from fairlead_tiered_retrieval.lists import ListIndex
from fairlead_tiered_retrieval.lists.calibration import FILE_READ_COST, Measured, effort_for, measure
from fairlead_tiered_retrieval.space import Space

NEAREST = np.arange(10)[None].repeat(3, axis=0)


def found(hits: int, reads: int, scanned: int) -> ListsFound:
    """An answer with so many of the ten nearest."""
    slots = np.where(np.arange(10) < hits, np.arange(10), 99)[None].repeat(3, axis=0).astype(np.int64)
    counts = [np.full(3, value, np.int32) for value in (reads, 1, scanned)]
    return ListsFound(slots, np.zeros((3, 10), np.float32), *counts, np.zeros(3, np.int64))


def test_more_probes_are_tried_only_while_they_find_more() -> None:
    probes: dict[tuple[int, float], list[int]] = {}

    def search(effort: ListEffort) -> ListsFound:
        probes.setdefault((effort.candidates, effort.confidence), []).append(effort.probes)
        return found(min(9, 5 + effort.probes // 10), effort.reads // 5, 100 * effort.probes)

    table = measure(search, NEAREST, lists=500, gap=0)
    assert all(max(tried) < 500 and tried == sorted(tried) for tried in probes.values())
    assert max(m.recall for m in table) == pytest.approx(0.9)


def test_the_cheapest_effort_depends_on_what_a_read_costs() -> None:
    many = Measured(ListEffort(probes=10, candidates=100, reads=60), 0.96, 2000.0, 50.0)
    few = Measured(ListEffort(probes=40, candidates=100, reads=60), 0.96, 8000.0, 12.0)
    assert effort_for([many, few], 0.95, 10).probes == 10
    assert effort_for([many, few], 0.95, 10, FILE_READ_COST).probes == 40
    assert effort_for([many, few], 0.99, 10).probes == 40, "the last where none reaches it"


@pytest.mark.slow
def test_a_high_recall_is_reached_where_no_direction_is_worth_more_than_others() -> None:
    """Codes of such vectors tell little: what the nearest are is found among many candidates."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(40, 96))
    rows = (centres[random.integers(0, 40, 9000)] + random.normal(size=(9000, 96))).astype(np.float32)
    index = ListIndex.build(
        Space("float32", "l2", 96), np.arange(8800), rows[:8800], limits=Limits(threads=2, seed=1), code_bytes=22
    )
    apart = np.square(rows[8800:, None] - rows[None, :8800]).sum(-1)
    nearest = np.argpartition(apart, 10, axis=1)[:, :10]
    slots = index.search(rows[8800:], 10, recall=0.99).slots
    assert (slots[:, :, None] == nearest[:, None, :]).any(axis=1).mean() >= 0.98

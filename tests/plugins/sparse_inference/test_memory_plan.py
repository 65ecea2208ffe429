"""How a budget becomes pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_sparse_inference.engine import BudgetTooSmall
from fairlead_sparse_inference.engine.memory_plan import MemoryPlan

PLAN = MemoryPlan(base_bytes=50_000_000, page_bytes=98_304, sequence_pages=32, max_pages=128)


@given(st.integers(0, 200_000_000))
def test_pages_never_exceed_the_budget_and_hold_a_sequence(budget: int) -> None:
    if budget < PLAN.minimum_bytes:
        with pytest.raises(BudgetTooSmall, match=str(PLAN.minimum_bytes)):
            PLAN.pages_within(budget)
        return
    pages = PLAN.pages_within(budget)
    assert PLAN.sequence_pages <= pages <= PLAN.max_pages
    assert PLAN.bytes_for(pages) <= budget
    assert pages == PLAN.max_pages or PLAN.bytes_for(pages + 1) > budget


def test_without_a_limit_all_pages_are_used() -> None:
    assert PLAN.pages_within(None) == 128


def test_unused_memory_costs_nothing_and_used_memory_does() -> None:
    assert PLAN.marginal_cost(pages=128, used_pages=64, active=2) == 0
    assert PLAN.marginal_cost(pages=64, used_pages=64, active=2) == 0.5
    assert PLAN.marginal_cost(pages=32, used_pages=32, active=1) == 1
    assert PLAN.marginal_cost(pages=32, used_pages=0, active=0) == 0

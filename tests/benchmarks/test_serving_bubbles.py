"""Waits of stages are those within runs of microbatches, put together from what each instance noted."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.serving.bubbles import Idle, at_once, in_runs


def told(flights: list, idles: list, groups: list | None = None) -> dict[str, Any]:
    return {"flights": flights, "idles": idles, "groups": [[0.0, 100.0]] if groups is None else groups}


def test_waits_count_while_anything_is_in_flight_and_else_do_not() -> None:
    first = told([[1.0, 2.0], [2.001, 3.0]], [[0.0, 1.5], [2.5, 6.0]])
    second = told([[5.0, 6.0]], [[0.0, 5.0]])
    # Runs: 1 to 3 of two microbatches, 5 to 6 of one.
    assert in_runs([first, second]) == Idle(6.0, pytest.approx(0.5 + 0.5 + 1.0 + 2.0), 3, pytest.approx(3.001))
    assert in_runs([first, second], least=2) == Idle(4.0, pytest.approx(0.5 + 0.5 + 2.0), 2, pytest.approx(2.001))
    assert in_runs([first, second], least=3) is None


def test_only_time_in_a_group_of_all_counts() -> None:
    first, second = told([[0.0, 10.0]], [[2.0, 4.0]], [[0.0, 3.0]]), told([], [], [[1.0, 9.0]])
    found = in_runs([first, second])
    assert found is not None
    assert (found.seconds, found.waited, found.microbatches) == (4.0, 1.0, 0)
    assert in_runs([first, told([], [], [])]) is None


def test_many_at_once_are_those_of_all_drivers_together() -> None:
    first, second = told([[0.0, 4.0], [1.0, 3.0]], [[0.0, 2.5]]), told([[2.0, 6.0]], [[3.5, 6.0]])
    found = at_once([first, second], 3)
    assert found is not None
    assert (found.seconds, found.waited, found.share) == (2.0, 0.5, 0.25)
    assert found.least_share == 0, "enough for all stages"
    two = at_once([first, second], 2)
    assert two is not None and (two.seconds, two.waited) == (6.0, pytest.approx(1.5 + 0.5))
    every = in_runs([first, second])
    assert every is not None and every.bound == pytest.approx(3.0), "one alone in the first second, and in the last two"
    assert at_once([first, second], 4) is None


def test_instances_that_tell_nothing_have_no_waits() -> None:
    assert in_runs([{"preemptions": 1}, {"preemptions": 2}]) is None

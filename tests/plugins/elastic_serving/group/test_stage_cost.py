"""A stage learns what a microbatch costs by itself, and says nothing where it cannot know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fairlead_elastic_serving.group import stage_cost
from fairlead_elastic_serving.group.pipeline import PipelineExecutor
from fairlead_elastic_serving.group.stage_cost import LEARN_EVERY, TURNS_KEPT, Rounds, StageCost, Turns
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel
from fairlead_elastic_serving.planning.drop_plan import Stage

COST = CostModel(pair_s=0.0, token_s=5e-5, chunk_s=1.5e-3, shared_s=1.4e-3)


def _seen(sizes: list[int], wrong: float = 1.0) -> StageCost:
    subject, random = StageCost(), np.random.default_rng(1)
    for number in range(LEARN_EVERY):
        batch = [Chunk(int(random.integers(0, 300)), 1)] * sizes[number % len(sizes)]
        subject.measured(batch, COST.batch(batch) * (wrong if number % 7 == 0 else 1.0))
    return subject


@pytest.mark.parametrize("wrong", [1.0, 4.0])
def test_what_a_microbatch_costs_by_itself_is_told_from_what_is_in_it(wrong: float) -> None:
    assert _seen([2, 5, 9], wrong).fixed_s == pytest.approx(COST.shared_s, rel=0.05)


def test_what_is_known_is_fitted_anew_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[int] = []
    monkeypatch.setattr(stage_cost, "fit", lambda steps: at.append(seen) or COST)
    subject = StageCost()
    for seen in range(1, 5 * stage_cost.MOST_EVERY):  # noqa: B007
        subject.measured([Chunk(0, 1)], 1e-3)
    assert at == [64, 128, 256, 512, 1024, 2048, 3072, 4096]


def test_microbatches_of_one_size_say_nothing_of_it() -> None:
    assert _seen([4]).fixed_s == 0
    assert StageCost().fixed_s == 0


def test_what_took_no_time_is_left_out() -> None:
    subject = StageCost()
    for _ in range(LEARN_EVERY):
        subject.measured([Chunk(0, 1)], 0.0)
    assert subject.fixed_s == 0


def test_a_driver_sends_fewer_microbatches_where_each_costs_more_than_it_would_alone() -> None:
    space: Any = SimpleNamespace(segments=(Stage("a", 0, 3), Stage("b", 3, 6)), names=())
    nobody: Any = None

    def parts(measured_s: float) -> int:
        pipeline = PipelineExecutor(
            nobody, space, nobody, nobody, nobody, 1, 4, drivers=lambda: 2, latency_s=3e-4, fixed_s=lambda: measured_s
        )
        return pipeline.parts(1.5e-3, 1.5e-3)

    assert (parts(0.0), parts(4e-3)) == (2, 1)


def test_others_count_for_as_long_as_each_of_ones_own_requests_gets_a_token() -> None:
    rounds = Rounds(1.0)
    assert rounds.others_s(4) is None
    for number in range(300):  # Two of one's own with two tokens each, and one of another's, over and over.
        rounds.computed(0.01 * number, 2e-3, 2 if number % 3 else 0)
    assert rounds.others_s(4) == pytest.approx(2e-3, rel=0.05)
    assert rounds.others_s(4, 1.5e-3) == pytest.approx(0.5e-3, rel=0.05), "beside what each of theirs costs by itself"
    assert rounds.others_s(4, 9e-3) == 0
    for number in range(300, 420):
        rounds.computed(0.01 * number, 2e-3, 2)
    assert rounds.others_s(4) == pytest.approx(0.0, abs=1e-9), "the others have stopped"
    for number in range(420, 540):
        rounds.computed(0.01 * number, 2e-3, 0)
    assert rounds.others_s(4) is None, "nothing of one's own to compare with"


def test_a_drivers_turn_is_what_it_takes_when_it_does_not_wait() -> None:
    turns = Turns()
    for number in range(TURNS_KEPT):
        assert turns.typical_s == 0, "not known yet"
        turns.answered(number)
        turns.sent(number + (0.5 if number % 4 == 0 else 2e-3))
        turns.sent(number + 0.9)  # Another one in the same turn.
    assert turns.typical_s == pytest.approx(2e-3, rel=1e-6)

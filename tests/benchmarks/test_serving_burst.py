"""What a burst's replays come to: limits, rows, the cost model's judgement, and the picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.serving import calm
from benchmarks.serving.burst_plot import draw, totals
from benchmarks.serving.burst_rows import FULL, RECOMPUTE, VLLM, Burst, limits, paired, ratio_of_tails, rows
from benchmarks.serving.calibration import Calibration, Load, _judgement, _requests, by_kind, calibrated
from benchmarks.serving.instances import Budget, Replayed, System
from benchmarks.serving.replay import Asked, Served
from benchmarks.serving.scaling import Fit, Scale
from benchmarks.serving.simulation import Speed, simulate, spread
from benchmarks.serving.small_model import SmallShape
from benchmarks.serving.traces import Arrival
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel

COST = CostModel(2e-8, 4e-5, 4e-3, 3.9e-3)
SHAPE = SmallShape()
BUDGET = Budget(4 * SHAPE.parameters + 500 * SHAPE.token_bytes("float32"), SHAPE, "float32", 32, 128)
SPEED = Speed(COST, 128, 32)


def burst() -> Burst:
    arrivals = [Arrival(30 + 0.02 * index, 60, 60) for index in range(40)]
    peak = sum(simulate(part, SPEED).peak for part in spread(arrivals, 2))
    scale = Scale(1.0, 1.0, 1.0, 512)
    return Burst(arrivals, Fit(scale, 0.5, peak, peak / 1000), calibrated(steps()), BUDGET, 2, SPEED)


def steps(wrong: float = 1.0) -> list[tuple[list[Chunk], float]]:
    kinds = [[Chunk(0, 20 + 5 * index)] for index in range(20)]
    kinds += [[Chunk(30 + other, 1) for other in range(index + 1)] for index in range(20)]
    return [(chunks, COST.batch(chunks) * (wrong if index % 2 else 1.0)) for index, chunks in enumerate(kinds)]


def replayed(wait_s: float, digest: int = 1) -> Replayed:
    served = [
        Served(f"b{i}", 30 + 0.02 * i, 60, 3, at_s=[30 + 0.02 * i + wait_s + 0.1 * token for token in range(3)])
        for i in range(40)
    ]
    for item in served:
        item.digest = digest
    gauge = {"at_s": 1.0, "capacity": 2.0**20, "held": 2.0**19}
    return Replayed(served, [[gauge], [gauge]], [{"preemptions": 1}, {"preemptions": 2}])


def test_a_model_is_judged_by_steps_that_it_has_not_seen() -> None:
    exact, wrong = calibrated(steps()), calibrated(steps(1.25))
    assert exact.error < 1e-6 < exact.by_tokens_error
    assert wrong.error == pytest.approx(0.2, abs=0.01)  # 1 - 1 / 1.25
    assert Calibration.from_json(wrong.as_json() | {"cost": wrong.as_json()["cost"]}) == wrong
    with pytest.raises(ValueError, match="8 and above"):
        calibrated(steps()[:7])


def test_a_model_is_judged_by_medians_of_kinds_that_fit_nothing() -> None:
    seen = [([Chunk(0, tokens)], COST.batch([Chunk(0, tokens)])) for tokens in (20, 60, 200) for _ in range(8)]
    seen += [([Chunk(32, 1)] * count, COST.batch([Chunk(32, 1)] * count)) for count in (1, 2, 8) for _ in range(8)]
    batch = [Chunk(40, 1)] * 4
    unseen = [(batch, COST.batch(batch) * slower) for slower in (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0)]
    # The kind that judges came among the others, too, and slower: it must not have been fitted.
    found = by_kind([*seen, *((batch, 9 * COST.batch(batch)) for _ in range(8))], [*unseen, ([Chunk(0, 99)], 1.0)])
    assert found.steps == 1, "a step that came once is no kind"
    assert found.error < 1e-6
    assert found.spread == pytest.approx(0.25) and found.single_error == pytest.approx(0.125)
    assert found.noise == pytest.approx(1 / 3), "a median of 1.0 in the first half, of 1.5 in the second"
    told = replace(found, alone=found)
    assert Calibration.from_json(json.loads(json.dumps(told.as_json()))) == told


def test_an_oracle_is_no_nearer_than_rounds_are_to_each_other() -> None:
    rounds = [
        [([Chunk(40, 1)] * count, COST.batch([Chunk(40, 1)] * count) * slower, 0.0) for _ in range(8)]
        for slower in (1.0, 1.25, 1.0, 1.25)
        for count in (4,)
    ]
    seen = [[([Chunk(0, tokens)], COST.batch([Chunk(0, tokens)]), 1e-3) for tokens in (20, 60) for _ in range(8)]]
    own = [[(chunks, seconds, seconds) for chunks, seconds, _ in new] for new in rounds]
    found = _judgement({"seen": seen, "unseen": own}, 50.0)
    assert found.floor == found.processor_noise == pytest.approx(0.2)
    assert found.steps == 3, "each kind once: what fitted judges the other model"
    assert found.folds is not None and min(found.folds) < found.error < max(found.folds)


def test_requests_of_a_batch_come_at_once_and_some_while_they_are_answered() -> None:
    asked = _requests("c", (Load(2, 10, 20), Load(1, 5, 8, later=1, later_prompt=30)), 2, 0.4)
    assert [(item.due_s, item.prompt) for item in asked] == [
        *[(0.0, 10)] * 4,
        *[(0.4, 5)] * 2,
        *[(pytest.approx(0.45), 30)] * 2,
    ]
    assert len({item.name for item in asked}) == len(asked)


def test_limits_see_what_dropping_frees() -> None:
    found = limits(burst())
    assert found.dropping < found.without and found.formula_dropping < found.formula_without
    assert found.ratio == found.without / found.dropping


def test_promises_hold_or_do_not_by_what_was_measured() -> None:
    found = list(rows(burst(), {RECOMPUTE: [replayed(4.0)], FULL: [replayed(0.1)], VLLM: [replayed(0.05)]}, 1))
    held = {(item.case, item.metric): item for item in found}
    lower = held[FULL, f"P99 TTFT, against {RECOMPUTE}"]
    assert (lower.ratio, lower.holds) == (pytest.approx(40.0), True)
    assert held[FULL, f"P99 TTFT, against {VLLM}"].holds is False
    assert held[FULL, "P99 TTFT, against transformers"].ours is None  # a promise that was not measured does not hold
    assert held[RECOMPUTE, "preemptions"].ours == 3
    assert held["fairlead", "greedy answers that are the same in all of our modes"].holds is True


def test_steps_after_a_burst_are_compared_by_turns_where_there_are_some() -> None:
    turns = {RECOMPUTE: [replayed(4.0)], FULL: [replayed(0.1)]}
    whole = {item.metric: item for item in rows(burst(), turns, 1)}
    found = {item.metric: item for item in rows(burst(), turns, 1, {FULL: [3e-3, 2e-3], RECOMPUTE: [2.5e-3, 2e-3]})}
    first, second = (f"TPOT {when} burst, P50, against {RECOMPUTE}" for when in ("outside the", "after a"))
    assert whole[first].holds is True and second not in whole
    assert found[first].holds is None and found[second].holds is True
    assert found[second].ours == pytest.approx(2.5) and found[second].ratio == pytest.approx((2.5 / 3 + 1) / 2)


def test_requests_from_after_a_burst_begin_at_once() -> None:
    asked = [Asked(f"b{index}", 10.0 * index, 5, 3) for index in range(12)]
    assert [(item.name, item.due_s) for item in calm.part(asked, 90.0, 120.0)] == [
        ("b9", 0.0),
        ("b10", 10.0),
        ("b11", 20.0),
    ]
    whole = replayed(0.1)
    assert calm.middle(whole) == pytest.approx(0.1)
    whole.served[0].error = "lost"
    with pytest.raises(ValueError, match="1 requests were not served, b0 first"):
        calm.middle(whole)


def test_a_ratio_is_that_of_the_medians_of_replays_in_turn() -> None:
    turns = {RECOMPUTE: [replayed(4.0), replayed(5.0), replayed(9.0)], FULL: [replayed(w) for w in (0.1, 0.2, 0.1)]}
    found = {(item.case, item.metric): item for item in rows(burst(), turns, 1)}
    lower = found[FULL, f"P99 TTFT, against {RECOMPUTE}"]
    assert (lower.ratio, lower.ratio_min, lower.ratio_max) == pytest.approx((50.0, 25.0, 90.0))
    assert found[RECOMPUTE, "preemptions"].ours == 3


def test_other_answers_in_another_mode_are_seen() -> None:
    found = list(rows(burst(), {RECOMPUTE: [replayed(4.0)], FULL: [replayed(0.1, digest=2)]}, 1))
    assert any("greedy" in item.metric and item.holds is False for item in found)


def test_a_request_that_was_lost_counts_as_the_longest_wait() -> None:
    ours, theirs = replayed(0.1).served, replayed(4.0).served
    ours[3].error = "lost"
    mine, others = paired(ours, theirs)
    assert len(mine) == len(others) == 40
    assert max(mine) == pytest.approx(4.0)
    value, low, high = ratio_of_tails([1.0] * 50, [3.0] * 50, 1)
    assert (value, low, high) == (3.0, 3.0, 3.0)


def test_more_or_less_than_the_bytes_is_refused() -> None:
    def ready(kv_bytes: int) -> dict[str, int]:
        return {"weight_bytes": BUDGET.weight_bytes, "kv_bytes": kv_bytes}

    BUDGET.require_kept("it", ready(500 * BUDGET.token_bytes))
    for kv_bytes in (501 * BUDGET.token_bytes, 100 * BUDGET.token_bytes):
        with pytest.raises(ValueError, match=f"it: .* accepted: {BUDGET.memory_bytes}"):
            BUDGET.require_kept("it", ready(kv_bytes))
    assert BUDGET.capacity == 500
    assert System("it", "some.module").python


def test_gauges_of_instances_are_added_as_last_known(tmp_path: Path) -> None:
    first = [{"at_s": 0.0, "capacity": 1.0, "held": 0.0}, {"at_s": 2.0, "capacity": 3.0, "held": 1.0}]
    second = [{"at_s": 1.0, "capacity": 10.0}]
    at, capacity, held = totals([first, second])
    assert (at, capacity, held) == ([0.0, 1.0, 2.0], [11.0, 11.0, 13.0], [0.0, 0.0, 1.0])
    pytest.importorskip("matplotlib")
    draw({FULL: replayed(0.1)}, (FULL,), (15.0, 90.0), tmp_path / "new" / "burst.png")
    assert (tmp_path / "new" / "burst.png").stat().st_size > 1000

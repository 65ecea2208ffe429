"""The cost model fits what it claims to, and microbatches cut by it are even."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel, fit
from fairlead_elastic_serving.planning.microbatches import (
    best_parts,
    bubble_share,
    cut,
    evenly,
    lookahead,
    measured_bubbles,
    round_of,
)

MODEL = CostModel(pair_s=2e-8, token_s=3e-5, chunk_s=2e-3, shared_s=1.5e-3, read_s=4e-7, several_s=5e-4)
CHUNKS = st.builds(Chunk, st.integers(0, 4000), st.integers(1, 2000))


def steps(model: CostModel, number: int, noise: float, seed: int, most: int = 4):
    random = np.random.default_rng(seed)
    for _ in range(number):
        batch = [
            Chunk(int(random.integers(0, 3000)), int(random.choice([1, random.integers(2, 2000)])))
            for _ in range(random.integers(1, most + 1))
        ]
        yield batch, model.batch(batch) * random.normal(1, noise)


def test_a_chunks_pairs_are_those_of_causal_attention() -> None:
    for chunk in (Chunk(0, 1), Chunk(0, 7), Chunk(5, 3)):
        assert chunk.pairs == sum(chunk.prefix + place + 1 for place in range(chunk.tokens))


def test_a_fit_finds_what_the_steps_were_made_of() -> None:
    found = fit(list(steps(MODEL, 60, 0.0, 1)))
    for name in ("pair_s", "token_s", "chunk_s", "shared_s", "read_s", "several_s"):
        assert getattr(found, name) == pytest.approx(getattr(MODEL, name), rel=1e-6)


def test_a_noisy_fit_predicts_other_steps_within_five_per_cent() -> None:
    found = fit(list(steps(MODEL, 80, 0.03, 2)))
    assert found.error(list(steps(MODEL, 80, 0.0, 3))) < 0.02
    tokens_only = CostModel(0.0, found.token_s, 0.0)
    assert tokens_only.error(list(steps(MODEL, 80, 0.0, 3))) > 0.2, "tokens alone do not say it"


def test_steps_that_something_else_delayed_do_not_sway_a_fit() -> None:
    random = np.random.default_rng(8)
    disturbed = [
        (batch, seconds * (random.uniform(1.5, 4) if random.random() < 0.25 else 1.0))
        for batch, seconds in steps(MODEL, 120, 0.01, 8)
    ]
    assert fit(disturbed).error(list(steps(MODEL, 80, 0.0, 9))) < 0.03


def test_alike_chunks_cost_what_a_batch_of_them_does() -> None:
    for number in (0, 1, 7):
        assert MODEL.alike(Chunk(9, 2), number) == pytest.approx(MODEL.batch([Chunk(9, 2)] * number))


def test_batches_of_one_say_nothing_of_sharing() -> None:
    found = fit(list(steps(MODEL, 30, 0.0, 4, most=1)))
    assert found.shared_s == 0 and found.chunk_s == pytest.approx(MODEL.chunk_s, rel=1e-5)


@pytest.mark.parametrize("size", [2, 5])
def test_batches_of_one_size_are_fitted_by_chunk(size: int) -> None:
    def of_size(number: int, seed: int):
        chunks = [chunk for batch, _ in steps(MODEL, number * size, 0.0, seed, most=1) for chunk in batch]
        batches = [chunks[first : first + size] for first in range(0, len(chunks), size)]
        return [(batch, MODEL.batch(batch)) for batch in batches]

    found = fit(of_size(40, 6))
    assert (found.pair_s, found.token_s) == pytest.approx((MODEL.pair_s, MODEL.token_s), rel=1e-5)
    each = MODEL.chunk_s + (MODEL.several_s - MODEL.shared_s * (size - 1)) / size
    assert found.shared_s == 0 and found.chunk_s == pytest.approx(each, rel=1e-4), "a share of it for each chunk"
    assert found.error(of_size(20, 7)) < 1e-5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.lists(CHUNKS, min_size=1, max_size=3), st.floats(1e-6, 1e3)), min_size=1, max_size=6))
def test_no_part_of_a_fit_is_negative(measured) -> None:
    found = fit(measured)
    assert min(found.pair_s, found.token_s, found.read_s, found.chunk_s, found.shared_s) >= 0
    assert found.chunk_s >= found.shared_s


@pytest.mark.parametrize("wrong", [[], [([], 1.0)], [([Chunk(0, 1)], 0.0)], [([Chunk(0, 1)], float("nan"))]])
def test_steps_that_say_nothing_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="accepted: at least one"):
        fit(wrong)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHUNKS, max_size=8), st.integers(1, 600))
def test_microbatches_are_the_queue_cut_up(queue: list[Chunk], least: int) -> None:
    cuts = lookahead(queue, MODEL, least)
    tokens = [sum(chunk.tokens for chunk in batch) for batch in cuts]
    assert sum(tokens) == sum(chunk.tokens for chunk in queue)
    assert all(count >= least for count in tokens) or len(cuts) <= 1
    assert all(count < 2 * least for count in tokens)
    assert spans(chunk for batch in cuts for chunk in batch) == spans(queue), "each token is computed once, in order"


def spans(chunks: Iterable[Chunk]) -> list[tuple[int, int]]:
    """What chunks cover, those joined that continue the one before."""
    found: list[tuple[int, int]] = []
    for chunk in chunks:
        start = found.pop()[0] if found and found[-1][1] == chunk.prefix else chunk.prefix
        found.append((start, chunk.prefix + chunk.tokens))
    return found


def test_cutting_by_cost_leaves_fewer_bubbles_than_cutting_by_tokens() -> None:
    random = np.random.default_rng(5)
    model = CostModel(pair_s=4e-8, token_s=1e-5, chunk_s=1e-4)
    queue = [Chunk(0, int(tokens)) for tokens in random.lognormal(7, 1, 24)]
    by_cost = lookahead(queue, model, 500)
    total, rest, by_tokens = sum(chunk.tokens for chunk in queue), queue, []
    for _ in range(len(by_cost)):
        first, rest = cut(rest, -(-total // len(by_cost)))
        by_tokens.append(first)
    spread = [model.batch(batch) for batch in by_cost]
    even = bubble_share(4, len(by_cost))
    assert measured_bubbles(spread, 4) < measured_bubbles([model.batch(batch) for batch in by_tokens if batch], 4)
    assert measured_bubbles(spread, 4) < even + 0.15


def test_equal_microbatches_wait_as_long_as_the_formula_says() -> None:
    assert measured_bubbles([1.0] * 12, 2) == pytest.approx(bubble_share(2, 12)) == pytest.approx(1 / 13)
    assert measured_bubbles([], 3) == 0


def played(parts: int, fixed_s: float, work_s: float, stages: int, drivers: int, uneven: float) -> tuple[float, float]:
    """Microbatches of all drivers round and round through stages, first come, first served: a round, and idle time."""
    random, each = np.random.default_rng(1), (fixed_s + work_s / parts) / stages
    ready = [(0.0, number) for number in range(drivers * parts)]
    free, busy, rounds = [0.0] * stages, [0.0] * stages, []
    for _ in range(600 * drivers * parts):
        now, number = min(ready)
        ready.remove((now, number))
        began = now
        for stage in range(stages):
            took = each * random.uniform(1 - uneven, 1 + uneven)
            now = free[stage] = max(now, free[stage]) + took
            busy[stage] += took
        rounds.append(now - began)
        ready.append((now, number))
    return float(np.mean(rounds)), 1 - sum(busy) / (stages * max(free))


@pytest.mark.parametrize(("stages", "drivers", "parts"), [(2, 2, 1), (2, 2, 2), (2, 1, 3), (3, 3, 2), (3, 1, 2)])
def test_a_round_takes_about_as_long_as_one_that_is_played(stages: int, drivers: int, parts: int) -> None:
    seconds, idle = played(parts, 1.3, 1.5, stages, drivers, uneven=0.5)
    found = round_of(1.3, 1.5, parts, stages, drivers)
    assert found.seconds == pytest.approx(seconds, rel=0.15)
    assert found.idle == pytest.approx(idle, abs=0.1)


def test_work_is_cut_as_far_as_keeps_stages_busy_and_no_further() -> None:
    one, two = (round_of(1.3, 1.5, parts, 2, drivers=2, latency_s=0.3) for parts in (1, 2))
    assert one.idle > 0.2 and two.idle < 0.08
    assert best_parts(1.3, 1.5, 8, 2, drivers=2, latency_s=0.3) == 2
    assert best_parts(1.3, 1.5, 8, 2, drivers=1, latency_s=0.3) > 2, "alone, a driver keeps all stages busy by itself"
    assert best_parts(1.3, 1.5, 1, 2, drivers=1) == 1, "no more than may be in flight"


def test_where_a_microbatch_costs_much_by_itself_stages_rather_wait() -> None:
    assert best_parts(1.3, 0.05, 8, 2, drivers=2, latency_s=0.3, most_longer=0.25) == 1
    assert best_parts(1.3, 0.05, 8, 2, drivers=2, latency_s=0.3) == 2, "unless nobody minds"


def test_a_second_token_costs_more_than_a_third() -> None:
    model = CostModel(pair_s=0.0, token_s=1e-4, chunk_s=1e-3, shared_s=1e-3, several_s=5e-4)
    one, two, three = ([Chunk(9, 1)] * number for number in (1, 2, 3))
    assert [model.batch(batch) for batch in (one, two, three)] == pytest.approx([1.1e-3, 1.7e-3, 1.8e-3])
    assert [model.alike(Chunk(9, 1), number) for number in (0, 1, 3)] == pytest.approx([0.0, 1.1e-3, 1.8e-3])
    assert model.chunk(Chunk(0, 5)) == model.batch([Chunk(0, 5)]) == pytest.approx(2e-3)
    assert model.least_s == pytest.approx(1.5e-3)
    assert [len(part) for part in evenly([Chunk(9, 1)] * 14, model, 2)] == [7, 7]


@pytest.mark.parametrize("tokens", [1, 6])
def test_where_all_batches_have_several_tokens_or_none_has_they_cost_nothing_more(tokens: int) -> None:
    batches = [[Chunk(3 * prefix, tokens)] for prefix in range(20)]
    found = fit([(batch, MODEL.batch(batch)) for batch in batches])
    assert found.several_s == 0
    assert found.error([(batch, MODEL.batch(batch)) for batch in batches]) < 1e-6


def test_drivers_cut_alike_whoever_has_more_to_do() -> None:
    # What one has more the other has less: were each to count on what it sees of the other, one would cut it finely and
    # the other not at all.
    large, small = (
        best_parts(1.3, work_s, 4, 2, drivers=2, others_s=others_s) for work_s, others_s in ((3.5, 0.75), (1.5, 1.75))
    )
    assert large == small == 2
    assert round_of(1.3, 2.5, 2, 2, drivers=2, others_s=2.5 / 2) == round_of(1.3, 2.5, 2, 2, drivers=2)


def test_what_a_driver_does_for_each_microbatch_is_no_wait_and_makes_a_round_longer() -> None:
    without, drawing = (round_of(1.3, 1.5, 1, 2, drivers=2, latency_s=0.3, own_s=own_s) for own_s in (0.0, 0.4))
    assert drawing.seconds > without.seconds and drawing.idle < without.idle


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 7])
def test_parts_are_even_however_many_there_are(parts: int) -> None:
    model = CostModel(pair_s=1e-7, token_s=1e-4, chunk_s=2e-3, shared_s=1.5e-3, read_s=1e-6)
    queue = [Chunk(0, 90), *(Chunk(40 * place, 1) for place in range(12)), Chunk(17, 60)]
    found = evenly(queue, model, parts)
    assert len(found) == parts and sum(chunk.tokens for part in found for chunk in part) == 162
    costs = [model.batch(part) for part in found]
    assert max(costs) - min(costs) < 0.15 * max(costs) + 2e-3
    assert evenly([Chunk(5, 1)], model, 4) == [[Chunk(5, 1)]], "not more than there are tokens"
    assert evenly([], model, 2) == []


def test_work_that_costs_nothing_is_not_cut() -> None:
    assert best_parts(0.0, 0.0, 4, 2) == 1
    assert round_of(0.0, 0.0, 1, 2).seconds == 0


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="accepted: 1 and above"):
        lookahead([Chunk(0, 5)], MODEL, 0)
    for stages, microbatches in ((1, 0), (2, 0), (0, 2)):
        with pytest.raises(ValueError, match=f"stages {stages}, microbatches {microbatches}: accepted: 1 and above"):
            bubble_share(stages, microbatches)
    with pytest.raises(ValueError, match="accepted: prefix 0 and above"):
        Chunk(-1, 5)

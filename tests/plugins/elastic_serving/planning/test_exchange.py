"""The exchange after a drop: everything arrives once, activations go first, faults lose no request."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.errors import ElasticServingError
from fairlead_elastic_serving.planning.drop_plan import DropPlan, Stage, plan_drop
from fairlead_elastic_serving.planning.exchange import Exchange, Stored, chunk_tokens, parts_of, worth_moving

LAYERS = 6


def dropped(instances: int) -> DropPlan:
    return plan_drop([(Stage(f"i{number}", 0, LAYERS),) for number in range(instances)], [1] * LAYERS, 10**9, 4)


REQUESTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=6)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 4), REQUESTS, st.integers(1, 12), st.data())
def test_everything_arrives_once_behind_the_activations(instances: int, requests, tokens: int, data) -> None:
    plan = dropped(instances)
    stored = [Stored(f"r{n}", f"i{where % instances}", size, 5) for n, (where, size) in enumerate(requests)]
    exchange = Exchange(plan.epoch, parts_of(plan, stored, tokens))
    kept = {stage.instance: set(stage.layers) for group in plan.groups for stage in group}
    arrived: dict[tuple[str, int], set[int]] = {}
    links = [(f"i{a}", f"i{b}") for a in range(instances) for b in range(instances) if a != b]
    for _ in range(150):
        if exchange.done:
            break
        link = data.draw(st.sampled_from(links))
        assert exchange.next(link, activations=1) is None
        part = exchange.next(link, activations=0)
        if part is None:
            continue
        assert exchange.next(link, activations=0) is None, "one part at a time"
        assert exchange.remote(part.request, part.layer)
        if data.draw(st.booleans()):
            exchange.lost(part)
            continue
        assert part.layer in kept[part.target] and part.layer not in kept[part.source]
        seen = arrived.setdefault((part.request, part.layer), set())
        assert not seen & set(range(part.first, part.end))
        seen |= set(range(part.first, part.end))
        size = next(item.tokens for item in stored if item.request == part.request)
        assert exchange.arrived(part) == (len(seen) == size)
        assert not exchange.arrived(part), "twice changes nothing"
        assert exchange.remote(part.request, part.layer) == (len(seen) < size)
    while not exchange.done:
        for link in links:
            while part := exchange.next(link, activations=0):
                arrived.setdefault((part.request, part.layer), set()).update(range(part.first, part.end))
                exchange.arrived(part)
    expected = {
        (item.request, layer): set(range(item.tokens))
        for item in stored
        for layer in range(LAYERS)
        if layer not in kept[item.instance] and item.tokens
    }
    assert arrived == expected and not exchange.progress()


def test_a_dead_instances_requests_are_named_and_forgotten() -> None:
    plan = dropped(3)
    stored = [Stored("a", "i0", 4, 1), Stored("b", "i1", 4, 1), Stored("c", "i2", 4, 1)]
    exchange = Exchange(4, parts_of(plan, stored, 4))
    first = exchange.next(("i0", "i1"), activations=0)
    assert first is not None
    assert exchange.fail("i0") == ("a", "b", "c"), "each had something to move from or to it"
    assert exchange.done and not exchange.progress()
    assert not exchange.arrived(first)


def test_a_dead_instance_does_not_touch_what_goes_between_others() -> None:
    plan = DropPlan(4, ((Stage("x", 0, 3), Stage("y", 3, 6)), (Stage("z", 0, 6),)), {"x": (3, 4, 5)}, 3, True)
    exchange = Exchange(4, parts_of(plan, [Stored("a", "x", 4, 1)], 2))
    assert exchange.fail("z") == ()
    assert exchange.progress() == {("x", "y"): 6}


def test_requests_that_end_are_not_moved_further() -> None:
    exchange = Exchange(4, parts_of(dropped(2), [Stored("a", "i0", 9, 1), Stored("b", "i0", 2, 1)], 3))
    part = exchange.next(("i0", "i1"), activations=0)
    assert part is not None and part.request == "a"
    exchange.forget("a")
    exchange.lost(part)
    following = exchange.next(("i0", "i1"), activations=0)
    assert following is not None and following.request == "b"


def test_parts_of_another_epoch_are_refused() -> None:
    parts = parts_of(dropped(2), [Stored("a", "i0", 3, 1)], 3)
    exchange = Exchange(4, parts)
    for call in (exchange.arrived, exchange.lost):
        with pytest.raises(ElasticServingError, match="epoch 3; accepted: 4"):
            call(replace(parts[0], epoch=3))
    with pytest.raises(ElasticServingError, match="in no group"):
        parts_of(dropped(2), [Stored("a", "i9", 3, 1)], 3)


@pytest.mark.parametrize("tokens", [0, -3])
def test_parts_of_no_tokens_are_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match=f"tokens {tokens}: accepted: 1 and above"):
        parts_of(dropped(2), [Stored("a", "i0", 3, 1)], tokens)


def test_long_answers_move_and_short_ones_stay() -> None:
    link = {"layer_token_bytes": 1000.0, "query_bytes": 8000.0, "bytes_per_s": 1e9, "latency_s": 1e-5}
    assert worth_moving(Stored("a", "i0", 2000, 500), **link)
    assert not worth_moving(Stored("a", "i0", 2000, 10), **link)


def test_a_chunk_takes_about_a_stages_time() -> None:
    assert chunk_tokens(0.01, 1e9, 1000.0) == 10_000
    assert chunk_tokens(1e-9, 1e3, 1e6) == 1

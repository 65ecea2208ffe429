"""A budget that moves while requests run."""

from __future__ import annotations

import pytest

from fairlead_elastic_serving.model.batch import Batch
from fairlead_language_model.serving import BudgetTooSmall, PromptTooLong
from tests.plugins.elastic_serving.engine.conftest import MakeEngine
from tests.plugins.elastic_serving.engine.serving import Collected, Held, request, resize_held
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

PAGE = 1024


@pytest.mark.parametrize("host_pages", [0, 200])
def test_requests_outlive_a_budget_that_shrinks_and_grows(
    make_engine: MakeEngine, llama: RandomModel, host_pages: int
) -> None:
    engine = make_engine(300, 500, host_bytes=host_pages * PAGE, context=90)
    whole = engine.memory_in_use()
    some, first = [(some_tokens(20, seed), 50) for seed in range(5)], Held(5)
    sinks = [first, *(Collected() for _ in some[1:])]

    def send() -> None:
        for one, sink in zip(some, sinks, strict=True):
            engine.submit(request(*one), sink)

    engine.between_steps(send).result()
    resize_held(engine, first, whole - 250 * PAGE)
    assert engine.memory_in_use() == whole - 250 * PAGE and engine.pages[1] == 50
    engine.resize(whole + 100 * PAGE)
    assert engine.pages[1] == 400
    engine.resize(whole + 1000 * PAGE)
    assert engine.pages[1] == 500, "no more than was reserved"
    for one, sink in zip(some, sinks, strict=True):
        wanted = llama.greedy(*one)
        assert sink.wait().tokens == wanted[: wanted.index(96)] if 96 in wanted else wanted
    assert engine.loop.scheduler.preemptions > 0


def test_a_budget_below_the_least_is_refused_and_the_old_one_stays(make_engine: MakeEngine) -> None:
    engine = make_engine(100)
    whole = engine.memory_in_use()
    with pytest.raises(BudgetTooSmall, match=f"accepted: at least {engine.least_bytes}"):
        engine.resize(engine.least_bytes - 1)
    assert engine.memory_in_use() == whole
    engine.resize(engine.least_bytes)
    assert engine.memory_in_use() == engine.least_bytes


def test_what_no_longer_fits_ends_at_the_shorter_context(make_engine: MakeEngine) -> None:
    engine = make_engine(100, context=120)
    sink = Held(3)
    engine.submit(request(some_tokens(40), 70, logit_bias={96: -100.0}), sink)
    # One page of 14 tokens a row, and one token that is not stored.
    resize_held(engine, sink, engine.least_bytes)
    assert sink.wait().end.reason == "length" and len(sink.tokens) < 70
    with pytest.raises(PromptTooLong, match="at most 14"):
        engine.submit(request(some_tokens(15), 1), Collected())


def test_memory_that_is_given_up_goes_back_to_the_system(make_engine: MakeEngine) -> None:
    engine = make_engine(100, page_bytes=4096)
    memory, arena = engine.model.loaded.memory, engine.model.loaded.arena
    memory.pages[: arena.own_capacity] = 1
    engine.resize(engine.least_bytes)
    assert (~memory.pages[:100].any(axis=1)).sum() == arena.retired


def test_several_microbatches_in_flight_change_no_token(make_engine: MakeEngine, llama: RandomModel) -> None:
    engine = make_engine(150, sequences=6, context=90)
    lengths: list[int] = []
    executor = engine.loop.executor

    def submit(batch: Batch) -> None:
        lengths.append(len(batch.tokens))
        executor._batches.append(batch)

    engine.between_steps(lambda: (setattr(executor, "capacity", 3), setattr(executor, "submit", submit))).result()
    some, sinks = [(some_tokens(9 + 11 * seed, seed), 20) for seed in range(5)], []
    for one in some:
        sinks.append(Collected())
        engine.submit(request(*one), sinks[-1])
    for one, sink in zip(some, sinks, strict=True):
        wanted = llama.greedy(*one)
        assert sink.wait().tokens == (wanted[: wanted.index(96)] if 96 in wanted else wanted)
    assert max(lengths) <= 24

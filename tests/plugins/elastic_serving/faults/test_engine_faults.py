"""Whatever breaks within the engine: whoever waits is told, nobody waits for ever, and the next request is served."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest

from fairlead_elastic_serving.engine.engine import Engine
from fairlead_language_model.serving import Failure
from tests.plugins.elastic_serving.engine.conftest import MakeEngine
from tests.plugins.elastic_serving.engine.serving import WAIT_S, Collected, request, run
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens


class Breaks:
    """Stands for a method and raises once, before or after it has done its work."""

    def __init__(self, method: Any, *, before: bool) -> None:
        self.method, self.before, self.raised = method, before, False

    def __call__(self, *args: Any, **named: Any) -> Any:
        if self.raised:
            return self.method(*args, **named)
        self.raised = True
        if not self.before:
            self.method(*args, **named)
        raise RuntimeError("a part of the machine broke")


def submitted(engine: Engine, number: int) -> list[Collected]:
    """Requests that all come in at the same step."""
    sinks, go = [Collected() for _ in range(number)], Event()
    job = engine.between_steps(lambda: go.wait(WAIT_S))
    for seed, sink in enumerate(sinks):
        engine.submit(request(some_tokens(9, seed), 6), sink)
    go.set()
    job.result()
    return sinks


def serves(engine: Engine, model: RandomModel) -> bool:
    prompt = some_tokens(12)
    tokens = model.greedy(prompt, 5)
    (answer,) = run(engine, request(prompt, 5))
    return answer.tokens == (tokens[: tokens.index(96)] if 96 in tokens else tokens)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("part", ["step", "computed"])
def test_a_fault_of_the_scheduler_reaches_all_who_wait(
    make_engine: MakeEngine, llama: RandomModel, monkeypatch: pytest.MonkeyPatch, part: str, before: bool
) -> None:
    engine = make_engine()
    breaks = Breaks(getattr(engine.loop.scheduler, part), before=before)
    monkeypatch.setattr(engine.loop.scheduler, part, breaks)
    sinks = [sink.wait() for sink in submitted(engine, 3)]
    assert breaks.raised
    assert [sink.events[-1] for sink in sinks] == [Failure("RuntimeError: a part of the machine broke")] * 3
    assert serves(engine, llama)


def test_a_fault_of_the_executor_is_that_of_the_requests_it_computed(
    make_engine: MakeEngine, llama: RandomModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(step_tokens=9)
    monkeypatch.setattr(engine.model.stage, "run", Breaks(engine.model.stage.run, before=True))
    first, second = (sink.wait() for sink in submitted(engine, 2))
    assert first.events == [Failure("RuntimeError: a part of the machine broke")]
    assert len(second.tokens) == second.end.completion_tokens
    assert serves(engine, llama)


def test_who_drains_learns_of_the_end_that_a_fault_makes(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, drained = make_engine(), list[bool]()
    at, go = Event(), Event()
    step = engine.loop.scheduler.step

    def breaks() -> Any:
        at.set()
        assert go.wait(WAIT_S)
        monkeypatch.setattr(engine.loop.scheduler, "step", step)
        raise RuntimeError("a part of the machine broke")

    monkeypatch.setattr(engine.loop.scheduler, "step", breaks)
    sink = Collected()
    engine.submit(request(some_tokens(9), 5), sink)
    assert at.wait(WAIT_S)
    waits = Thread(target=lambda: drained.append(engine.drain(WAIT_S)))
    waits.start()
    go.set()
    waits.join()
    assert drained == [True] and isinstance(sink.wait().events[-1], Failure)


def test_who_resizes_is_answered_though_a_step_under_way_fails(
    make_engine: MakeEngine, llama: RandomModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    monkeypatch.setattr(engine.loop, "land", Breaks(engine.loop.land, before=True))
    engine.resize(engine.memory_in_use())
    assert serves(engine, llama)


def test_who_gives_up_a_wait_between_steps_disturbs_nobody(make_engine: MakeEngine) -> None:
    engine, go = make_engine(), Event()
    first = engine.between_steps(lambda: go.wait(WAIT_S))
    given_up = engine.between_steps(lambda: pytest.fail("nobody waits for this"))
    sink = Collected()
    engine.submit(request(some_tokens(9), 6), sink)
    assert given_up.cancel()
    go.set()
    first.result()
    assert sink.wait().end.reason in ("length", "stop")


def test_a_request_that_came_before_the_budget_shrank_is_cut_to_what_is_left(make_engine: MakeEngine) -> None:
    engine = make_engine(400, most_pages=400, context=200)
    short, long = Collected(), Collected()

    def come_and_shrink() -> None:
        engine.submit(request(some_tokens(10), 180, ignore_eos=True), short)
        engine.submit(request(some_tokens(100), 10), long)
        engine._fit(24)

    engine.between_steps(come_and_shrink).result()
    assert (short.wait().end.reason, 10 + len(short.tokens)) == ("length", engine.context)
    failure = long.wait().events[-1]
    assert isinstance(failure, Failure) and engine.context < 100

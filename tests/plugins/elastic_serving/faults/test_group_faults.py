"""What goes wrong in a group costs time: every client that still waits gets the model's own answer, nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from fairlead_elastic_serving.group.plan import Phase
from fairlead_language_model.serving import Finish
from tests.plugins.elastic_serving.engine.serving import Collected
from tests.plugins.elastic_serving.group.group_world import World
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

TOKENS = 40
PAGES = 36
"""Three requests of two pages in each of six rows: with a fourth an instance is overloaded."""
Answer = Callable[[int], list[int]]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def answer(llama: RandomModel) -> Answer:
    return cache(lambda number: llama.greedy(_prompt(number), TOKENS))


def _prompt(number: int) -> list[int]:
    return some_tokens(20 + 3 * (number % 4), number)


def _in_exchange(llama: RandomModel, requests: int = 6) -> tuple[World, list[Collected]]:
    """Two instances whose keys and values move over a slow link, with requests under way."""
    world = World(llama.directory, PAGES, context=100, link_bytes_per_s=4e4)
    sinks = [world["ab"[number % 2]].ask(_prompt(number), TOKENS) for number in range(requests)]
    world.until(lambda: Phase.GROUPED in world.phases())
    world.until(lambda: any(instance.node.telemetry.moved_tokens for instance in world.alive))
    assert not all(sink.done.is_set() for sink in sinks)
    return world, sinks


def _answered(world: World, sinks: dict[int, Collected], answer: Answer) -> None:
    world.until(lambda: all(sink.done.is_set() for sink in sinks.values()))
    for number, sink in sinks.items():
        assert isinstance(sink.events[-1], Finish), sink.events[-1]
        assert sink.tokens == answer(number), f"request {number}"
    world.until(lambda: world.phases() == {Phase.SOLO} and world.empty())


@pytest.mark.parametrize("ends", ["resumes", "lost"])
def test_a_link_that_stalls_in_an_exchange(llama: RandomModel, answer: Answer, ends: str) -> None:
    world, sinks = _in_exchange(llama)
    links = world["a"].links["b"], world["b"].links["a"]
    for link in links:
        link.held = []
    stalled = 0

    def during() -> None:
        nonlocal stalled
        stalled += 1
        if stalled != 40:
            return
        for link in links:
            if ends == "lost":
                link.lose("nothing moved for 5 s")
            else:
                link.resume()

    world.during = during
    world.until(lambda: stalled >= 40)
    _answered(world, dict(enumerate(sinks)), answer)
    recovered = [instance.node.telemetry.recoveries for instance in world.alive]
    assert recovered == ([1, 1] if ends == "lost" else [0, 0])


def test_clients_that_go_away_in_an_exchange_leave_nothing_anywhere(llama: RandomModel, answer: Answer) -> None:
    world, sinks = _in_exchange(llama)
    gone = []
    for instance in world.alive:
        sequence = next(iter(instance.loop.sequences.values()))
        instance.loop.abort(sequence)
        instance.loop.abort(sequence)
        gone.append(sequence.sink)
    stay = {number: sink for number, sink in enumerate(sinks) if sink not in gone}
    assert len(gone) == 2 and all(sink.end.reason == "abort" for sink in gone)
    _answered(world, stay, answer)


def test_a_stage_that_cannot_compute_tells_the_driver_and_keeps_its_own_requests(
    llama: RandomModel, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, sinks = _in_exchange(llama)
    service, broke = world["b"].node.service, []
    run = service._run

    def breaks_once(microbatch: Any) -> torch.Tensor:
        if microbatch.driver == "a" and not broke:
            broke.append(microbatch.number)
            raise RuntimeError("a kernel broke")
        return run(microbatch)

    monkeypatch.setattr(service, "_run", breaks_once)
    world.until(lambda: bool(broke))
    _answered(world, dict(enumerate(sinks)), answer)

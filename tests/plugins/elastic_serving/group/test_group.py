"""Groups serve as single instances do: the same greedy answers before, while and after layers are given away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from fairlead_elastic_serving.group.microbatch import Microbatch
from fairlead_elastic_serving.group.plan import Phase
from fairlead_elastic_serving.links.link import Lane
from fairlead_elastic_serving.planning.drop_plan import Stage
from fairlead_language_model.serving import Finish
from tests.plugins.elastic_serving.engine.serving import Collected
from tests.plugins.elastic_serving.group.group_world import TIMING, World
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

Asked = list[tuple[Collected, int, int]]
Answer = Callable[[int, int], list[int]]
PAGES = 36
"""Three requests of two pages in each of six rows: with a fourth an instance is overloaded."""


def _prompt(number: int) -> list[int]:
    return some_tokens(20 + 3 * (number % 4), number)


@pytest.fixture(scope="session")
def answer(llama: RandomModel) -> Answer:
    """What transformers answers to the prompt of a number."""
    return cache(lambda number, tokens: llama.greedy(_prompt(number), tokens))


def _burst(world: World, numbers: range, tokens: int, names: str = "ab") -> Asked:
    return [(world[names[n % len(names)]].ask(_prompt(n), tokens), n, tokens) for n in numbers]


def _answered(world: World, asked: Asked, answer: Answer) -> None:
    world.until(lambda: all(sink.done.is_set() for sink, *_ in asked))
    for sink, number, tokens in asked:
        assert isinstance(sink.events[-1], Finish), sink.events[-1]
        assert sink.tokens == answer(number, tokens), f"request {number}"


def _whole_again(world: World) -> None:
    world.until(lambda: world.phases() == {Phase.SOLO} and world.empty())
    # Every instance serves as if there had been no group.
    world.until(lambda: all(instance.node.space is None for instance in world.alive))
    assert all(sorted(instance.model.loaded.layers) == [0, 1, 2] for instance in world.alive)


def test_a_burst_drops_layers_and_its_end_brings_them_back(llama: RandomModel, answer: Answer) -> None:
    world = World(llama.directory, PAGES, context=100)
    asked = _burst(world, range(8), 16)
    world.until(lambda: Phase.GROUPED in world.phases())
    _answered(world, asked, answer)
    _whole_again(world)
    for instance in world.alive:
        found = instance.node.telemetry
        assert (found.drops, found.restores, found.read_layers) == (1, 1, 0) and found.fetched_layers > 0
        assert instance.node.service.computed > 0 and found.grouped_s > 0
    _answered(world, _burst(world, range(2), 16), answer)


def test_requests_go_on_while_their_keys_and_values_move(llama: RandomModel, answer: Answer) -> None:
    # So slow a link that a part is a token or two: attention is computed where the others still are.
    world = World(llama.directory, PAGES, context=100, link_bytes_per_s=4e4)
    asked = _burst(world, range(6), 40)
    world.until(lambda: Phase.GROUPED in world.phases())
    before = [(sink, len(sink.tokens)) for sink, *_ in asked if 0 < len(sink.tokens) < 40]
    assert before, "nobody was running"
    world.until(lambda: sum(instance.node.telemetry.moved_tokens for instance in world.alive) > 20)
    assert any(len(sink.tokens) > count for sink, count in before)
    _answered(world, asked, answer)
    assert all(instance.node.remote.asked > 0 for instance in world.alive)
    parts = [size for i in world.alive for link in i.links.values() for lane, kind, size in link.sent if kind == "part"]
    assert len(parts) > 10
    _whole_again(world)


def test_without_an_exchange_attention_goes_where_keys_and_values_are(llama: RandomModel, answer: Answer) -> None:
    world = World(llama.directory, PAGES, context=100, exchange=False)
    asked = _burst(world, range(8), 16)
    world.until(lambda: Phase.GROUPED in world.phases())
    _answered(world, asked, answer)
    assert all(instance.node.telemetry.moved_tokens == 0 for instance in world.alive)
    assert all(instance.node.remote.asked > 0 for instance in world.alive)
    _whole_again(world)


def test_layers_come_back_under_requests_that_run(llama: RandomModel, answer: Answer) -> None:
    # Without a look ahead, which knows that those who run will fill the pages again.
    world = World(llama.directory, PAGES, context=100, restore_at=0.9, ahead_s=0.0)
    longer = _burst(world, range(2), 60)
    asked = _burst(world, range(2, 10), 8)
    world.until(lambda: Phase.GROUPED in world.phases())
    world.until(lambda: world.phases() == {Phase.SOLO})
    assert not any(sink.done.is_set() for sink, *_ in longer), "they were to be under way"
    _answered(world, asked + longer, answer)
    _whole_again(world)


@pytest.mark.parametrize("victim", ["a", "b"])
def test_a_stage_that_dies_costs_its_group_only_time(llama: RandomModel, answer: Answer, victim: str) -> None:
    world = World(llama.directory, PAGES, context=100)
    survivor = "ab".replace(victim, "")
    asked = _burst(world, range(8), 30)
    world.until(lambda: Phase.GROUPED in world.phases())
    for _ in range(10):
        world.step()
    world.kill(victim)
    mine = [item for item in asked if "ab"[item[1] % 2] == survivor]
    assert not all(sink.done.is_set() for sink, *_ in mine)
    _answered(world, mine, answer)
    _whole_again(world)
    found = world[survivor].node.telemetry
    assert found.recoveries == 1 and found.read_layers > 0 and found.lost_requests > 0


def test_an_instance_that_dies_after_the_group_came_apart_costs_what_it_still_held(
    llama: RandomModel, answer: Answer
) -> None:
    world = World(llama.directory, PAGES, context=100, restore_at=0.9, exchange=False, ahead_s=0.0)
    longer = _burst(world, range(2), 60)
    asked = _burst(world, range(2, 10), 8)
    world.until(lambda: Phase.GROUPED in world.phases())
    world.until(lambda: world.phases() == {Phase.SOLO})
    assert world["a"].node.space is not None and world["a"].node.space.afar()
    world.kill("b")
    _answered(world, [item for item in asked + longer if "ab"[item[1] % 2] == "a"], answer)
    _whole_again(world)


def test_work_of_another_epoch_is_refused_and_its_sender_recovers(llama: RandomModel, answer: Answer) -> None:
    world = World(llama.directory, PAGES, context=100)
    asked = _burst(world, range(8), 16)
    world.until(lambda: Phase.GROUPED in world.phases())
    world.step()
    # b forgets its group without telling anybody, as if it had been restarted under its name.
    gone = world["b"].node
    gone._do(gone.member._break(())[-1:])
    _answered(world, asked, answer)
    assert world["a"].node.telemetry.recoveries == 1
    _whole_again(world)


def test_three_instances_form_a_group(llama: RandomModel, answer: Answer) -> None:
    world = World(llama.directory, PAGES, names="abc", context=100)
    asked = _burst(world, range(24), 12, "abc")
    world.until(lambda: any(len(instance.node.member.group) == 3 for instance in world.alive))
    _answered(world, asked, answer)
    _whole_again(world)


def test_a_sliding_window_is_that_of_the_whole_model(tmp_path: Path) -> None:
    model = RandomModel("mistral-window", tmp_path)
    world = World(tmp_path, 2 * PAGES, context=100, link_bytes_per_s=4e4)
    asked = _burst(world, range(6), 24)
    world.until(lambda: Phase.GROUPED in world.phases())
    _answered(world, asked, lambda number, tokens: model.greedy(_prompt(number), tokens))
    assert any(instance.node.remote.asked for instance in world.alive)


def _told(world: World, name: str, to: str) -> int:
    """Messages of the protocol from one instance to another."""
    return sum(kind == "protocol" for _, kind, _ in world[name].links[to].sent)


def test_an_instance_with_nothing_to_say_reports_rarely_and_often_as_soon_as_it_has(llama: RandomModel) -> None:
    world = World(llama.directory, PAGES, context=100)
    world["b"].ask(some_tokens(5, 1), 8)
    for _ in range(100):
        world.step()
    rested = _told(world, "b", "a")
    # At the start and twice a second, while it has little; polled thirty times.
    assert 2 <= rested <= 4
    world["b"].ask(_prompt(1), 40)
    for _ in range(16):
        world.step()
    assert _told(world, "b", "a") >= rested + 4


def test_rest_delays_no_group(llama: RandomModel) -> None:
    steps = []
    for rest_s in (0.0, TIMING.rest_s):
        world = World(llama.directory, PAGES, context=100, timing=replace(TIMING, rest_s=rest_s))
        for _ in range(70):
            world.step()
        # The other one decides, and has nothing to say of itself.
        _burst(world, range(8), 16, "b")
        began = world.now
        world.until(lambda world=world: Phase.GROUPED in world.phases())
        steps.append(world.now - began)
    assert steps[1] == pytest.approx(steps[0], abs=1e-9)


def test_a_rest_is_shorter_than_reports_are_good_for() -> None:
    with pytest.raises(ValueError, match="below stale_s"):
        replace(TIMING, rest_s=TIMING.stale_s)


def _microbatch(number: int, lengths: list[int]) -> Microbatch:
    tokens, sequences = sum(lengths), len(lengths)
    return Microbatch(
        epoch=1,
        driver="b",
        number=number,
        segments=(Stage("a", 0, 3),),
        place=0,
        hidden=torch.zeros(tokens, 4),
        positions=np.zeros(tokens, np.int32),
        starts=np.cumsum([0, *lengths]).astype(np.int32),
        samples=np.zeros(0, np.int32),
        pieces=(tuple(f"b:{number}:{sequence}" for sequence in range(sequences)),),
        stored=np.zeros((1, sequences), np.int32),
        older=((),),
    )


def test_prompts_overtake_next_tokens_but_not_each_other(llama: RandomModel) -> None:
    service = World(llama.directory, PAGES, context=100)["a"].node.service
    for number, lengths in enumerate([[1, 1], [9], [1], [1, 7], [1], [4]]):
        service.add(_microbatch(number, lengths))
    assert [task.number for _, task in service._tasks] == [1, 3, 5, 0, 2, 4]
    rest = _microbatch(6, [5])
    rest.pieces = (("b:2:0",),)
    service.add(rest)
    assert [task.number for _, task in service._tasks] == [1, 3, 5, 0, 2, 6, 4], "the second part of what 2 began"


def test_a_driver_sends_what_is_ready_before_it_computes_for_others_but_not_twice_in_a_row(
    llama: RandomModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(llama.directory, PAGES, context=100)
    _burst(world, range(8), 16)
    world.until(lambda: Phase.GROUPED in world.phases())
    for _ in range(3):
        world.step()
    node, computed = world["a"].node, list[int]()
    monkeypatch.setattr(node.service, "step", lambda: computed.append(1) or False)
    monkeypatch.setattr(world["a"].loop.scheduler, "ready", lambda: 1)
    seen = []
    for _ in range(6):
        assert node.turn()
        seen.append(len(computed))
    assert max(seen[place + 1] - seen[place] for place in range(5)) == 1
    assert seen[-1] - seen[0] in (2, 3), "every other time"
    monkeypatch.setattr(world["a"].loop.scheduler, "ready", lambda: 0)
    node.turn()
    node.turn()
    assert len(computed) == seen[-1] + 2, "nothing to send"


def test_an_exchange_waits_for_activations(llama: RandomModel) -> None:
    world = World(llama.directory, PAGES, context=100)
    _burst(world, range(8), 16)
    world.until(lambda: Phase.GROUPED in world.phases())
    link = world["a"].links["b"]
    link.held = []
    world.step()
    sent = [lane for lane, _ in link.held]
    assert Lane.ACTIVATIONS in sent
    first = sent.index(Lane.ACTIVATIONS)
    assert all(message.kind != "move" for lane, message in link.held[first:] if lane is Lane.EXCHANGE)
    link.resume()

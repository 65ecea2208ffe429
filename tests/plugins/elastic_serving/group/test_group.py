"""Groups serve as single instances do: the same greedy answers before, while and after layers are given away."""

from __future__ import annotations

from fairlead_elastic_serving.group.plan import Phase
from tests.plugins.elastic_serving.group.group_world import World
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens


def _burst(world: World, llama: RandomModel, requests: int, tokens: int = 30) -> list:
    asked = []
    for number in range(requests):
        name = "ab"[number % 2]
        prompt = some_tokens(20 + 3 * number, number)
        asked.append((world[name].ask(prompt, tokens), prompt, tokens))
    return asked


def _assert_right(llama: RandomModel, asked: list) -> None:
    for sink, prompt, tokens in asked:
        assert sink.tokens == llama.greedy(prompt, tokens)


def test_a_burst_drops_layers_and_answers_as_one_instance_would(llama: RandomModel) -> None:
    world = World(llama.directory, 66, context=100)
    asked = _burst(world, llama, 10)
    world.until(lambda: Phase.GROUPED in world.phases())
    world.until(lambda: all(sink.done.is_set() for sink, *_ in asked))
    _assert_right(llama, asked)
    assert all(instance.node.telemetry.drops == 1 for instance in world.alive)
    world.until(lambda: world.phases() == {Phase.SOLO} and world.empty())
    assert all(sorted(instance.model.loaded.layers) == [0, 1, 2] for instance in world.alive)
    after = _burst(world, llama, 2)
    world.until(lambda: all(sink.done.is_set() for sink, *_ in after))
    _assert_right(llama, after)

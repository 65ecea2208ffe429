"""Engines with real links in one process: the budget makes them a group, and gives them back to themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("torch", reason="the engine computes in torch")

from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.group.coordinator import Timing
from fairlead_elastic_serving.group.membership import Membership
from fairlead_elastic_serving.group.settings import GroupSettings
from fairlead_elastic_serving.links.door import LinkSettings
from fairlead_elastic_serving.standing import Standing, standing
from tests.patience import patient
from tests.plugins.elastic_serving.engine.conftest import open_model
from tests.plugins.elastic_serving.engine.serving import Demand
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

WAIT_S = patient(60.0)
PAGES, FEW_PAGES = 400, 60
#: A machine that stands still makes no link look dead: a group whose link is lost recovers, and restores nothing.
LINKS = LinkSettings(stall_s=WAIT_S)


class Pair:
    """Two engines that know each other."""

    def __init__(self, llama: RandomModel) -> None:
        groups = GroupSettings(timing=Timing(pause_s=0.2, calm_s=0.2))
        self.engines = [Engine(open_model(llama.directory, PAGES, context=100)) for _ in range(2)]
        self.members = [
            Membership(engine, f"0000{number}.x", LINKS, groups) for number, engine in enumerate(self.engines)
        ]
        for member in self.members:
            member.know({other.me: other.door for other in self.members})
        self.until(lambda: all(len(member._meeting.links) == 1 for member in self.members), "links")

    @property
    def standings(self) -> list[Standing]:
        return [standing(engine, member) for engine, member in zip(self.engines, self.members, strict=True)]

    def fit(self, pages: int) -> None:
        """Give both a budget with so many pages for keys and values."""
        for engine in self.engines:
            engine.resize(engine.model.plan.bytes_for(pages))

    def until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < deadline, f"{what}: not in time: {self.standings}"
            time.sleep(0.01)

    def close(self) -> None:
        for member in self.members:
            member.know({})
        for engine in self.engines:
            engine.close()
        for member in self.members:
            member.close()


@pytest.fixture
def pair(llama: RandomModel) -> Iterator[Pair]:
    pair = Pair(llama)
    yield pair
    pair.close()


def test_a_smaller_budget_makes_a_group_and_a_larger_one_ends_it(pair: Pair, llama: RandomModel) -> None:
    """What the agent takes away in the middle of answers is made up by layers, and nobody's answer changes."""
    prompts = [some_tokens(20 + number, number) for number in range(10)]
    demands = [Demand(engine, prompts[number::2], 40) for number, engine in enumerate(pair.engines)]
    pair.until(lambda: all(sink.pieces for demand in demands for _, sink in demand.asked), "first tokens")
    assert [now.group for now in pair.standings] == [1, 1]
    pair.fit(FEW_PAGES)
    pair.until(lambda: all(now.group == 2 and now.dropped_layers for now in pair.standings), "a group")
    assert all(now.kv_capacity_bytes > now.kv_own_bytes for now in pair.standings)
    for demand in demands:
        demand.enough = True
    answers = {tuple(prompt): llama.greedy(prompt, 40) for prompt in prompts}
    for prompt, sink in [one for demand in demands for one in demand.asked]:
        assert sink.wait().tokens == answers[tuple(prompt)]
    pair.fit(PAGES)
    pair.until(lambda: all(now.group == 1 and not now.dropped_layers for now in pair.standings), "each alone")
    pair.until(lambda: all(now.used_pages == 0 for now in pair.standings), "all pages free")
    assert all(now.drops >= 1 and now.restores >= 1 for now in pair.standings), pair.standings

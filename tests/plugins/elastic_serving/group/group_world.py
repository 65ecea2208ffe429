"""Instances in one process, single-stepped: real models, real pages, links that deliver what would be sent as bytes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from fairlead_elastic_serving.engine.executor import LocalExecutor
from fairlead_elastic_serving.engine.loop import Loop
from fairlead_elastic_serving.engine.sequence import ServedSequence
from fairlead_elastic_serving.engine.served_model import ServedModel
from fairlead_elastic_serving.engine.swapping import HostPages
from fairlead_elastic_serving.engine.telemetry import Telemetry
from fairlead_elastic_serving.group.coordinator import Timing
from fairlead_elastic_serving.group.node import GroupNode
from fairlead_elastic_serving.group.plan import Phase
from fairlead_elastic_serving.group.post import Post
from fairlead_elastic_serving.group.settings import GroupSettings
from fairlead_elastic_serving.links.link import Inbox
from fairlead_elastic_serving.links.memory_link import MemoryLink, memory_pair
from fairlead_elastic_serving.scheduling import Scheduler, Settings
from tests.plugins.elastic_serving.engine.conftest import open_model
from tests.plugins.elastic_serving.engine.serving import Collected, request

TIMING = Timing(poll_s=0.03, stale_s=1.0, prepare_s=2.0, fetch_s=20.0, pause_s=0.1, calm_s=0.06)
STEP_S = 0.01


class Instance:
    """A model, its loop, and its part in groups."""

    def __init__(self, name: str, world: World, model: ServedModel, settings: GroupSettings) -> None:
        self.name, self.world, self.model = name, world, model
        self.inbox = Inbox()
        self.links: dict[str, MemoryLink] = {}
        self.telemetry = Telemetry()
        scheduler = Scheduler(model.space, Settings(model.settings.step_tokens, model.settings.sequences))
        host = HostPages(model.loaded.memory, model.host)
        self.loop = Loop(
            scheduler, LocalExecutor(model.stage), host.carry_out, self.telemetry, clock=world.clock, check=False
        )
        post = Post(name, self.inbox, lambda: {peer: link for peer, link in self.links.items() if link.lost is None})
        self.node = GroupNode(
            name,
            model,
            self.loop,
            post,
            settings,
            warn=_raise,
            clock=world.clock,
            wait=lambda: world.others(self, "next"),
            wait_for_answer=lambda: world.others(self, "answer"),
        )
        self.asked = 0

    @property
    def cached(self) -> int:
        """Pages that are kept for later requests."""
        tree = self.model.space.tree
        return tree.evictable if tree else 0

    def ask(self, prompt: list[int], tokens: int) -> Collected:
        """Submit a greedy request."""
        sink, self.asked = Collected(), self.asked + 1
        sequence = ServedSequence(
            f"{self.name}{self.asked}",
            request(prompt, tokens),
            self.model.tokenizer,
            frozenset(),
            self.model.context,
            sink,
            self.world.clock(),
        )
        self.loop.add(sequence)
        return sink


def _raise(event: str, **values: Any) -> None:
    raise AssertionError(f"{event}: {values}") from values.get("exc_info")


class World:
    """All instances and their time."""

    def __init__(self, directory: Path, kv_pages: int, names: str = "ab", **settings: Any) -> None:
        self.now = 0.0
        self.waits: list[tuple[Instance, str]] = []
        self.during: Callable[[], None] = lambda: None
        model = {key: settings.pop(key) for key in ("context", "sequences", "host_bytes") if key in settings}
        chosen = GroupSettings(**{"timing": TIMING, **settings})
        self.instances = {
            name: Instance(name, self, open_model(directory, kv_pages, **model), chosen) for name in names
        }
        inboxes = {name: instance.inbox for name, instance in self.instances.items()}
        for first, second in combinations(names, 2):
            self.instances[first].links[second], self.instances[second].links[first] = memory_pair(
                first, second, inboxes
            )

    def __getitem__(self, name: str) -> Instance:
        return self.instances[name]

    def clock(self) -> float:
        return self.now

    def others(self, waiting: Instance, state: str) -> None:
        """Let the others go on while one waits for them."""
        self.now += STEP_S / 10
        self.during()
        self.waits.append((waiting, state))
        stack = {instance.name: [s for other, s in self.waits if other is instance] for instance in self.alive}
        for instance in self.alive:
            if "answer" in stack[instance.name]:
                instance.node.remote.serve()
            elif stack[instance.name]:
                instance.node.serve()
            else:
                instance.node.turn()
        self.waits.pop()

    @property
    def alive(self) -> list[Instance]:
        return list(self.instances.values())

    def step(self) -> None:
        """Let every instance take one turn."""
        self.now += STEP_S
        for instance in self.alive:
            if instance.name in self.instances and instance.node.turn():
                instance.loop.turn()
            instance.node.check()

    def until(self, done: Callable[[], bool], steps: int = 1000) -> None:
        """Step until something is so."""
        for _ in range(steps):
            if done():
                return
            self.step()
        states = {name: (i.node.member.phase, i.loop.scheduler.load) for name, i in self.instances.items()}
        raise AssertionError(f"it never came to be: {states}")

    def kill(self, name: str) -> None:
        """Let an instance die."""
        gone = self.instances.pop(name)
        for link in gone.links.values():
            link.lose("died")

    def phases(self) -> set[Phase]:
        return {instance.node.member.phase for instance in self.alive}

    def empty(self) -> bool:
        """Whether nothing of any request is left anywhere."""
        return all(
            not len(instance.node.store) and instance.model.loaded.arena.used == instance.cached
            for instance in self.alive
        )

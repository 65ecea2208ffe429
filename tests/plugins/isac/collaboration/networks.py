"""Networks of cells drawn from a seed, and a transport that loses and reorders."""

from __future__ import annotations

import numpy as np

from fairlead_isac.collaboration.agent import CellAgent
from fairlead_isac.collaboration.network import CellLinks, SharedTarget, SharedTask, SharedUser, Sight


def network(
    seed: int, cells: int = 3, users: int = 4, targets: int = 2, server: float = 5e9, need: float = 1.0
) -> tuple[SharedTask, list[CellLinks]]:
    """A network in which links differ by 20 dB, and half of the users have a least rate."""
    random = np.random.default_rng(seed)
    served = tuple(
        SharedUser(f"user-{number}", float(random.uniform(0.5, 2)), float(random.choice([0.0, 5e6])))
        for number in range(users)
    )
    sensed = tuple(
        SharedTarget(f"target-{number}", need * float(random.uniform(1, 4)), 0.05) for number in range(targets)
    )
    links = [
        CellLinks(
            f"cell-{number}",
            {
                user.name: float(1e8 * np.log2(1 + random.exponential() * 10 ** random.uniform(-1, 2)))
                for user in served
            },
            {
                target.name: Sight(10 * float(random.exponential()), random.uniform(1e6, 1e7), random.uniform(1e7, 2e8))
                for target in sensed
            },
            3e8 * float(random.uniform(0.3, 2)),
        )
        for number in range(cells)
    ]
    return SharedTask(served, sensed, server), links


class LossyTransport:
    """Texts between agents: each may be lost, doubled, and is delivered some ticks later, in any order."""

    def __init__(self, seed: int, loss: float = 0.2, doubled: float = 0.1, longest_ticks: int = 3) -> None:
        self.random = np.random.default_rng(seed)
        self.loss, self.doubled, self.longest = loss, doubled, longest_ticks
        self.agents: dict[str, CellAgent] = {}
        self.dead: set[str] = set()
        self.now, self.sent, self.lost = 0, 0, 0
        self.flying: list[tuple[int, float, str, str]] = []

    def send(self, to: str, text: str) -> None:
        self.sent += 1
        copies = 1 + int(self.random.random() < self.doubled)
        for _ in range(copies):
            if self.random.random() < self.loss:
                self.lost += 1
                continue
            due = self.now + int(self.random.integers(0, self.longest + 1))
            self.flying.append((due, self.random.random(), to, text))

    def tick(self) -> None:
        self.now += 1
        due = sorted(each for each in self.flying if each[0] <= self.now)
        self.flying = [each for each in self.flying if each[0] > self.now]
        for _, _, to, text in due:
            if to not in self.dead:
                self.agents[to].receive(text)
        for name, agent in self.agents.items():
            if name not in self.dead:
                agent.tick()

    def run(self, ticks: int) -> int:
        """Until all that live have agreed; the number of ticks that it took."""
        for number in range(ticks):
            if all(agent.agreement is not None for name, agent in self.agents.items() if name not in self.dead):
                return number
            self.tick()
        return ticks


def agents(transport: LossyTransport, task: SharedTask, links: list[CellLinks], **settings: float) -> None:
    """Put an agent for each cell on the transport."""
    names = [each.name for each in links]
    for each in links:
        transport.agents[each.name] = CellAgent(each, names, task, transport.send, **settings)

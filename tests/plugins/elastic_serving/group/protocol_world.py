"""Instances under a simulated network: messages are delayed, instances die, demand changes; from one seed."""

from __future__ import annotations

import random
from collections import deque

from fairlead_elastic_serving.group.coordinator import Coordinator, Send, Timing
from fairlead_elastic_serving.group.decision import Costs
from fairlead_elastic_serving.group.member import Action, Drain, Enter, Fetch, Member, Recover, Resume
from fairlead_elastic_serving.group.plan import Phase, Report

LAYERS = 6
LAYER_PAGES = 10
OWN_PAGES = 50
COSTS = Costs(page_bytes=1000, token_bytes=100.0)
TIMING = Timing(poll_s=0.1, stale_s=1.0, prepare_s=2.0, fetch_s=10.0, pause_s=0.5, calm_s=0.3)


class World:
    """All instances, and what is under way between them."""

    def __init__(self, names: list[str], seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.members: dict[str, Member] = {}
        self.held: dict[str, int] = {}
        self.queued: dict[str, tuple[int, ...]] = {}
        self.entered: list[Enter] = []
        self.links: dict[tuple[str, str], deque[Send]] = {}
        self.later: list[tuple[float, str, object]] = []
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        """Let an instance appear."""
        coordinator = Coordinator(name, [LAYER_PAGES * COSTS.page_bytes] * LAYERS, COSTS, TIMING)
        self.members[name] = Member(name, LAYERS, coordinator)
        self.held[name], self.queued[name] = 5, ()
        self._tell_peers()

    def kill(self, name: str) -> None:
        """Let one die, with all that is under way from it or to it."""
        del self.members[name]
        self.links = {link: queue for link, queue in self.links.items() if name not in link}
        self._tell_peers()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            self._deliver()
            for due in [item for item in self.later if item[0] <= self.now]:
                self.later.remove(due)
                self._finish(due[1], due[2])
            for name, member in list(self.members.items()):
                self._do(name, member.tick(self.now, self._report(name)))
            self.check()

    def check(self) -> None:
        """Assert what must hold at every moment."""
        for name, member in self.members.items():
            layers = [layer for stage in member.group for layer in stage.layers]
            assert layers == list(range(LAYERS)), f"{name}: {member.group}"
            assert (member.phase is Phase.GROUPED) <= (len(member.group) > 1)
            for stage in member.group:
                other = self.members.get(stage.instance)
                if other is not None and other.epoch == member.epoch and len(other.group) > 1:
                    assert other.group == member.group

    def _report(self, name: str) -> Report:
        member = self.members[name]
        borrowed = sum(LAYER_PAGES for stage in member.group if stage.instance != name for _ in stage.layers)
        return Report(
            phase=member.phase,
            epoch=0,
            seen=0,
            group=member.group,
            settled=True,
            fetched=0,
            held=min(self.held[name], OWN_PAGES + borrowed),
            capacity=OWN_PAGES + borrowed,
            own_capacity=OWN_PAGES,
            queued=self.queued[name],
            alone=self.held[name],
            running=1,
        )

    def _deliver(self) -> None:
        for link, queue in list(self.links.items()):
            while queue and link in self.links and self.random.random() < 0.7:
                message = queue.popleft()
                if link[1] in self.members:
                    member = self.members[link[1]]
                    self._do(link[1], member.receive(self.now, link[0], message.kind, message.fields))

    def _do(self, name: str, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                if action.to in self.members:
                    self.links.setdefault((name, action.to), deque()).append(action)
            elif isinstance(action, Enter):
                self.entered.append(action)
            elif isinstance(action, Drain | Fetch | Recover):
                self.later.append((self.now + self.random.random() * 0.4, name, action))
            else:
                assert isinstance(action, Resume)

    def _finish(self, name: str, action: object) -> None:
        if (member := self.members.get(name)) is None:
            return
        if isinstance(action, Drain):
            self._do(name, member.drained())
        elif isinstance(action, Fetch):
            self._do(name, member.fetched(action.plan.epoch))
        elif member.phase is Phase.RECOVERING:
            self._do(name, member.recovered())

    def _tell_peers(self) -> None:
        for name, member in list(self.members.items()):
            self._do(name, member.peers(self.now, set(self.members)))

"""The loop: the world moves on by a slot, layers that are due decide, the slot is sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.hierarchy import Hierarchy
from fairlead_isac.granularity.layer import LayerDecision
from fairlead_isac.granularity.looks import Verdict
from fairlead_isac.granularity.slot import SlotSetting
from fairlead_isac.granularity.symbol import SymbolSetting
from fairlead_isac.physics.numerology import SYMBOLS_OF_A_SLOT
from fairlead_isac.simulation.policies import Policy
from fairlead_isac.simulation.scenario import MovingScenario
from fairlead_isac.simulation.timeline import Timeline
from fairlead_isac.simulation.world import World

Progress = Callable[[float], None]


def simulate(
    scenario: MovingScenario,
    policy: Policy,
    seconds: float,
    rng: np.random.Generator,
    progress: Progress | None = None,
    sample_s: float = 0.02,
) -> Timeline:
    """Run a policy over a moving scenario, slot by slot.

    Args:
        scenario: what moves.
        policy: who decides.
        seconds: of simulated time.
        rng: draws fading; the same seed gives all policies the same world.
        progress: called with the share that is done, some hundred times.
        sample_s: what the timeline averages over.

    Raises:
        IsacError: ``seconds`` is not above 0.
    """
    if not (math.isfinite(seconds) and seconds > 0.0):
        raise IsacError(f"seconds = {seconds!r}; accepted: a finite number above 0")
    recorder = _Recorder(scenario, policy, seconds, sample_s)
    world, hierarchy = World(scenario, rng), policy.hierarchy(scenario.cell)
    slots = max(1, round(seconds / world.slot_s))
    for number in range(slots):
        recorder.slot(number * world.slot_s, world, hierarchy)
        if progress is not None and number % max(1, slots // 200) == 0:
            progress((number + 1) / slots)
    if progress is not None:
        progress(1.0)
    return recorder.timeline()


class _Recorder:
    def __init__(self, scenario: MovingScenario, policy: Policy, seconds: float, sample_s: float) -> None:
        self.policy = policy
        slot_s = scenario.cell.numerology.slot_s
        self.sample_s = max(sample_s, slot_s)
        samples = max(1, math.ceil(seconds / self.sample_s - 1e-9))
        self.users = tuple(each.user.name for each in scenario.users)
        self.targets = tuple(each.name for each in scenario.targets)
        self.rates, self.looks = np.zeros((samples, len(self.users))), np.zeros((samples, len(self.targets)))
        self.ranges, self.counts = np.zeros((samples, len(self.targets))), np.zeros(samples)
        self.verdicts: list[Verdict] = []
        self.decisions: list[LayerDecision] = []
        self.decided: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()

    def slot(self, t: float, world: World, hierarchy: Hierarchy) -> None:
        """Observe, decide, send, note."""
        observation, verdicts = world.observe(t)
        decisions = hierarchy.step(t, observation)
        slot: SlotSetting = hierarchy.setting("slot")
        symbols: SymbolSetting = hierarchy.setting("symbol")
        rates = world.apply(t, observation.gains, slot, symbols)
        sample = min(int(t / self.sample_s + 1e-9), len(self.counts) - 1)
        first = self.counts[sample] == 0
        self.counts[sample] += 1
        self.rates[sample] += rates
        self.looks[sample] += [slot.looks.get(name, 0) / SYMBOLS_OF_A_SLOT for name in self.targets]
        if first:
            self.ranges[sample] = [each.target.range_m for each in world.targets]
        self.verdicts.extend(verdicts)
        self._note(decisions, bool(first))

    def _note(self, decisions: list[LayerDecision], keep_fine: bool) -> None:
        for decision in decisions:
            self.decided[decision.layer] += 1
            self.fallbacks[decision.layer] += decision.fallback is not None
            if keep_fine or decision.layer not in ("slot", "symbol") or decision.fallback is not None:
                self.decisions.append(decision)

    def timeline(self) -> Timeline:
        """The record."""
        counts = np.maximum(self.counts, 1.0)[:, None]
        return Timeline(
            self.policy.name,
            self.users,
            self.targets,
            np.arange(len(self.counts)) * self.sample_s,
            self.sample_s,
            self.rates / counts,
            self.looks / counts,
            self.ranges,
            tuple(self.verdicts),
            tuple(self.decisions),
            dict(self.decided),
            dict(self.fallbacks),
        )

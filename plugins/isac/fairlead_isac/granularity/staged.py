"""Layers over a stage of integration: which stage, within which budget, and each frame's beams.

Where a cell decides beams by a stage rather than looks and blocks by `slot.SlotLayer`, these are its layers;
`Hierarchy` runs both kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead_isac.duplex.switching import DuplexSwitch, measured_break_even_db
from fairlead_isac.granularity.band import rate_share
from fairlead_isac.granularity.layer import Answer, SolverFailed
from fairlead_isac.scenario import Budget, Cell, Channels, Target, User
from fairlead_isac.stages.catalogue import stage as make_stage
from fairlead_isac.stages.catalogue import switch
from fairlead_isac.stages.decision import Decision
from fairlead_isac.stages.protocol import Stage

#: Another stage must leave this much more of the rate than the one in force.
WORTH_A_CHANGE = 0.03
#: Steps of the price of sensing, in units of the budget's: up while needs are missed, down while all are met.
PRICE_UP, PRICE_DOWN, LARGEST_PRICE = 1.0, 0.2, 20.0


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What layers over a stage see.

    Attributes:
        cell: who sends.
        channels: as measured now.
        users, targets: who is to be served and sensed.
        bounds: power and share of time that are set from outside.
        illumination: share of the largest illumination that targets need, averaged over time.
        last: the decision before this one, if there is one.
    """

    cell: Cell
    channels: Channels
    users: tuple[User, ...] = ()
    targets: tuple[Target, ...] = ()
    bounds: Budget = field(default_factory=lambda: Budget(1.0))
    illumination: float = 0.0
    last: Decision | None = None


class StageLayer:
    """A second and more: the stage that leaves most rate at the illumination that is needed.

    Args:
        stages: to choose from, the preferred one first.
        period_s: at least 1.
    """

    name = "band"

    def __init__(self, stages: Sequence[str] = ("orthogonal", "converged"), period_s: float = 1.0) -> None:
        self.stages, self.period_s = tuple(stages), period_s
        self._chosen = self.stages[0]
        for name in self.stages:
            rate_share(name, 0.0)

    def decide(self, t: float, observation: Measured, above: Any) -> Answer:
        """Change the stage where another one leaves clearly more; stay where none can."""
        leaves = {name: rate_share(name, observation.illumination) for name in self.stages}
        best = max(self.stages, key=lambda name: leaves[name])
        if leaves[best] > leaves[self._chosen] + WORTH_A_CHANGE:
            self._chosen = best
        said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in leaves.items())
        return Answer(
            self._chosen, f"{100 * observation.illumination:.1f} % of illumination leaves of the rate: {said}"
        )

    def default(self, observation: Measured) -> Answer:
        """The stage in force."""
        return Answer(self._chosen, "the stage stays")


@dataclass(frozen=True, slots=True, eq=False)
class StageBudget:
    """What the middle layer gives the finest: the stage and its budget."""

    stage: str
    budget: Budget


class BudgetLayer:
    """Tens of milliseconds to a second: duplex mode by the break-even under these channels, prices by missed needs.

    Args:
        period_s: 0.01 to 1.
        hysteresis_db: around the break-even.
    """

    name = "cell"

    def __init__(self, period_s: float = 0.1, hysteresis_db: float = 1.0) -> None:
        self.period_s, self._switch, self._price = period_s, DuplexSwitch(hysteresis_db), 0.0

    def decide(self, t: float, observation: Measured, above: Any) -> Answer:
        """The budget of the stage above; SolverFailed where none is named."""
        if not isinstance(above, str):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: the name of a stage")
        missed = 0 if observation.last is None else sum(bool(each.unmet) for each in observation.last.sensing.values())
        self._price = min(LARGEST_PRICE, max(0.0, self._price + (PRICE_UP if missed else -PRICE_DOWN)))
        duplex = self._switch.choose(observation.channels.cancellation_db, self._break_even(observation, above))
        budget = replace(
            observation.bounds, duplex=duplex, price_sensing=observation.bounds.price_sensing + self._price
        )
        reason = f"{duplex} duplex; {missed} targets miss a need, sensing costs {budget.price_sensing:g}"
        return Answer(StageBudget(above, budget), reason, {"sensing": budget.price_sensing})

    def default(self, observation: Measured) -> Answer:
        """Bounds as they are set, half duplex."""
        return Answer(StageBudget("orthogonal", replace(observation.bounds, duplex="half")), "bounds as they are set")

    @staticmethod
    def _break_even(observation: Measured, name: str) -> float | None:
        if observation.channels.uplink is None or observation.channels.cancellation_db is None:
            return None
        tried = make_stage(name, observation.cell, users=observation.users, targets=observation.targets)
        return measured_break_even_db(tried, observation.channels, observation.bounds)


class FrameLayer:
    """A frame or slot: the stage's own decision within the budget.

    Args:
        period_s: of a frame.
    """

    name = "slot"

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._stage: Stage | None = None

    def decide(self, t: float, observation: Measured, above: Any) -> Answer:
        """Beams and shares of time; SolverFailed without a budget."""
        if not isinstance(above, StageBudget):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: StageBudget")
        decision = self._served(observation, above.stage).decide(observation.channels, above.budget)
        return Answer(
            decision, decision.reason if decision.fallback is None else f"{decision.reason}; {decision.fallback}"
        )

    def default(self, observation: Measured) -> Answer:
        """Beams of the orthogonal stage without users and targets: nothing is sent."""
        nothing = make_stage("orthogonal", observation.cell).decide(observation.channels, observation.bounds)
        return Answer(nothing, "nothing is sent until there is a decision")

    def _served(self, observation: Measured, name: str) -> Stage:
        """The stage of that name with exactly these users and targets."""
        current = self._stage
        if current is None or current.users != observation.users or current.targets != observation.targets:
            current = make_stage(name, observation.cell, users=observation.users, targets=observation.targets)
        self._stage = switch(current, name, observation.cell)
        return self._stage

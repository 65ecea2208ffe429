"""The layers of a running cell: band and cell as they are, and slots decided by a stage of integration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ..collaboration.cell import Agreeing
from ..collaboration.exchange import Agreed, own_part
from ..collaboration.network import Agreement, CellLinks, SharedTask
from ..collaboration.stage import Edge
from ..granularity.band import BandLayer, BandSetting
from ..granularity.cell import CellLayer, CellSetting
from ..granularity.hierarchy import Hierarchy
from ..granularity.layer import Answer, LayerDecision, Observation, SolverFailed, TrackedTarget
from ..scenario import Budget, Cell, Channels, Target, User
from ..stages.catalogue import stage as make_stage
from ..stages.decision import Decision

BAND_S, CELL_S = 1.0, 0.1
#: Looks carry no data in these; in the others, data's own waveform is what is looked with.
EXCLUSIVE = ("separated", "orthogonal", "collaborative")
#: That the band's layer chooses from where the config names none.
STAGES = ("separated", "orthogonal", "converged")
#: Admission has promised what requests get: no rate is worth breaking that.
BITS_PER_REFRESH = 1e15


class Together(Protocol):
    """What layers need of the other cells."""

    @property
    def agreed(self) -> Agreed | None:
        """The agreement that is in force; None: this cell decides alone."""
        ...

    def offer(self, task: SharedTask, links: CellLinks) -> None:
        """Leave what this cell can do now."""
        ...

    def missing(self) -> dict[str, str]:
        """Cells that are left out, and why."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Measured(Observation):
    """What layers see, and the channels themselves, which a stage decides over."""

    channels: Channels | None = None


class StageLayer:
    """Decides slots: beams, powers and dwells of a stage within what the layers above set.

    Args:
        cell: who sends.
        users: in the cell.
        targets: by name, of the requests.
        shares: air time of each target's looks.
        period_s: between two decisions.
        together: the other cells, for the stage ``collaborative``; None: there are none.
        edge: server and backhaul, for that stage.
    """

    name = "slot"

    def __init__(
        self,
        cell: Cell,
        users: tuple[User, ...],
        targets: Mapping[str, Target],
        shares: Mapping[str, float],
        period_s: float,
        together: Together | None = None,
        edge: Edge | None = None,
    ) -> None:
        self.period_s, self._together, self._edge = period_s, together, edge or Edge()
        # The other half is for beams; when it is over, what the cell has come to so far holds.
        self._alone = Agreeing(deadline_s=period_s / 2.0)
        self._agreed: Agreed | None = None
        self._cell, self._users, self._targets, self._shares = cell, users, targets, shares
        self._stage: Any = None
        self._stage_of: tuple[str, tuple[str, ...]] | None = None

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Ask the stage; SolverFailed without a cell's setting or channels."""
        if not isinstance(above, Within) or not isinstance(observation, Measured) or observation.channels is None:
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: Within, and measured channels")
        # A full-duplex cell's converged signal is made together with its receivers.
        joint = above.stage == "converged" and above.duplex == "full"
        wanted = "full_duplex" if joint else above.stage, above.served
        if self._stage_of != wanted:
            targets = [self._targets[name] for name in above.served]
            options = self._options().get(wanted[0], {})
            self._stage = make_stage(wanted[0], self._cell, users=self._users, targets=targets, **options)
            self._stage_of = wanted
        if above.stage == "collaborative":
            self._meet(above.agreed)
        decision: Decision = self._stage.decide(observation.channels, self._budget(above))
        if above.agreed is not None:
            decision = self._own(decision, above.agreed.agreement)
        return Answer(decision, decision.reason)

    def _options(self) -> dict[str, dict[str, Any]]:
        """Of stages that have some: the other half of a period is for what comes after."""
        return {
            "collaborative": {"settle": self._settle, "edge": self._edge},
            "full_duplex": {"deadline_s": self.period_s / 2.0},
        }

    def _meet(self, agreed: Agreed | None) -> None:
        """The others by name: what they can do, they tell in the agreement."""
        self._agreed = agreed
        others = [] if agreed is None else [cell for cell in agreed.cells if cell != self._cell.name]
        self._stage.meet(CellLinks(cell, {}, {}, 1.0) for cell in others)

    def _settle(self, task: SharedTask, cells: Sequence[CellLinks]) -> Agreement:
        """The agreement in force, and what this cell can do for the next one; alone, an agreement with itself."""
        mine = self._looking(cells[0])
        if self._together is not None:
            self._together.offer(task, mine)
        return self._alone(task, [mine]) if self._agreed is None else own_part(self._agreed.agreement, mine)

    def _looking(self, links: CellLinks) -> CellLinks:
        """Admission has promised each target its looks: what it needs takes at least their share of the time."""
        sights = {
            name: replace(sight, information=min(sight.information, 1.0 / max(self._shares[name], 1e-9)))
            for name, sight in links.sights.items()
        }
        return replace(links, sights=sights)

    def _own(self, decision: Decision, agreement: Agreement) -> Decision:
        """Rates of this cell's own links: a user of another cell gets nothing over them."""
        rates = {
            user: rate if agreement.serving.get(user, self._cell.name) == self._cell.name else 0.0
            for user, rate in decision.rate_bits_per_s.items()
        }
        return replace(decision, rate_bits_per_s=rates)

    def default(self, observation: Observation) -> Answer:
        """Nothing is sent."""
        return Answer(None, "nothing is sent until there is a decision")

    def _budget(self, above: Within) -> Budget:
        low, high = above.sensing
        if above.stage in EXCLUSIVE:
            low = max(low, sum(self._shares[name] for name in above.served))
        return Budget(above.power_watts, (min(low, high), high), duplex=above.duplex)


@dataclass(frozen=True, slots=True)
class Within:
    """What the layers above leave to a slot."""

    stage: str
    served: tuple[str, ...]
    sensing: tuple[float, float]
    power_watts: float
    duplex: Any
    agreed: Agreed | None = None
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])


class BoundCellLayer(CellLayer):
    """The cell's layer, whose setting also says the stage and the bounds that were set from outside.

    Args:
        least: share of air time that sensing takes at least.
        power_watts: that the cell may send with.
        duplex: that was set from outside; None: the layer chooses.
        together: the other cells, whose agreement binds slots of the stage ``collaborative``.
    """

    def __init__(
        self,
        least: float,
        power_watts: float,
        duplex: Any,
        period_s: float = CELL_S,
        together: Together | None = None,
    ) -> None:
        super().__init__(period_s)
        self._together = together
        self._least, self._power_watts, self._set_duplex = least, power_watts, duplex
        self.plan: CellSetting | None = None

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Plan looks, and pass on what binds a slot."""
        answer = super().decide(t, observation, above)
        self.plan = answer.setting
        assert isinstance(above, BandSetting)
        high = answer.setting.budget.time_fraction_sensing[1]
        within = Within(
            above.stage,
            tuple(above.served),
            (min(self._least, high), high),
            min(self._power_watts, answer.setting.budget.power_watts),
            self._set_duplex or answer.setting.budget.duplex,
        )
        if above.stage != "collaborative":
            return Answer(within, answer.reason, answer.prices)
        within = self._shared(within, observation.cell.name)
        return Answer(within, f"{answer.reason}; {_said(within, observation.cell.name)}", answer.prices)

    def _shared(self, within: Within, cell: str) -> Within:
        """Within what the cells have agreed upon: sensing's least share is this cell's part."""
        if self._together is None:
            return within
        agreed, left_out = self._together.agreed, self._together.missing()
        if agreed is None:
            return replace(within, left_out=left_out)
        shares = agreed.agreement.time_share.get(cell, {})
        sensing = sum(share for name, share in shares.items() if name.startswith(f"{cell}."))
        low, high = within.sensing
        return replace(within, sensing=(min(max(low, sensing), high), high), agreed=agreed, left_out=left_out)

    def default(self, observation: Observation) -> Answer:
        """Data alone."""
        return Answer(Within("orthogonal", (), (0.0, 0.0), self._power_watts, "half"), "data alone")


def _said(within: Within, cell: str) -> str:
    """Who takes part, and who does not."""
    agreed = within.agreed
    others = [] if agreed is None else [each for each in agreed.cells if each != cell]
    said = f"agreed with {', '.join(others)}" if others else "no other cell takes part: it decides alone"
    return said + "".join(f"; without {name}: {why}" for name, why in within.left_out.items())


def hierarchy(
    slots: StageLayer,
    bounds: tuple[float, float],
    stage: str | None,
    power: float,
    duplex: Any,
    together: Together | None = None,
) -> Hierarchy:
    """The layers, fresh: each decides when it is next asked.

    Args:
        slots: the finest.
        bounds: of sensing's share of air time.
        stage: that was set; None: the band's layer chooses.
        power: W, at most.
        duplex: that was set; None: the cell's layer chooses.
        together: the other cells; None: there are none.
    """
    stages = STAGES if stage is None else (stage,)
    band = BandLayer(BITS_PER_REFRESH, bounds[1], stages=stages, period_s=BAND_S)
    cell = BoundCellLayer(bounds[0], power, duplex, max(CELL_S, slots.period_s), together)
    layers = [band, cell, slots]
    return Hierarchy(layers)  # type: ignore[arg-type]


def observation_of(
    cell: Cell, users: tuple[User, ...], channels: Channels, tracked: tuple[TrackedTarget, ...], rates: np.ndarray
) -> Measured:
    """What the coarse layers see of channels: gains of maximum-ratio beams over the whole band, as one block."""
    receiving = tuple(user for user in users if user.direction == "down")
    gains = (np.abs(channels.users) ** 2).sum(axis=-1, keepdims=True) / channels.noise_watts
    gains = np.where(np.isfinite(gains), gains, 0.0)
    cancelled = channels.cancellation_db
    return Measured(cell, receiving, gains, gains, rates, tracked, cancellation_db=cancelled, channels=channels)


def line_of(decision: LayerDecision) -> dict[str, Any]:
    """A layer's decision for the log."""
    setting = decision.setting
    if isinstance(setting, BandSetting):
        served = {name: service.air_share for name, service in setting.served.items()}
        return {"stage": setting.stage, "served": served, "shed": dict(setting.shed)}
    if isinstance(setting, Within):
        return {
            "stage": setting.stage,
            "duplex": setting.duplex,
            "sensing_share": list(setting.sensing),
            "power_watts": setting.power_watts,
            "prices": dict(decision.prices),
            "cells": [] if setting.agreed is None else list(setting.agreed.cells),
            "left_out": dict(setting.left_out),
        }
    if isinstance(setting, Decision):
        missed = [line for result in setting.sensing.values() for line in result.unmet]
        return {
            "stage": setting.stage,
            "duplex": setting.duplex,
            "time_fraction_sensing": setting.time_fraction_sensing,
            "rate_bits_per_s": setting.rate_bits_per_s,
            "unmet": [*setting.unmet, *missed],
        }
    return {}

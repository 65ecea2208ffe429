"""What a layer is, what it sees and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import Cell, Target, User

F64 = NDArray[np.float64]


class SolverFailed(IsacError):
    """A layer has no answer for this period; the last one stays in force."""


@dataclass(frozen=True, slots=True)
class TrackedTarget:
    """A target as it is believed to be, and what its velocity must be told apart by.

    Attributes:
        target: position, speed, cross section and what is required of its estimates.
        velocity_resolution_m_per_s: two targets that differ by this must be told apart; None: not asked for.
        velocity_prior_m_per_s: the track knows its velocity within plus and minus this.
    """

    target: Target
    velocity_resolution_m_per_s: float | None = None
    velocity_prior_m_per_s: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is known when layers decide.

    Attributes:
        cell: the base station.
        users: in the order of ``gains``.
        gains: float64 [users, blocks], a user's SNR for a watt on a resource block, now.
        mean_gains: float64 [users, blocks], averaged over the last period of the cell's layer.
        average_rates: float64 [users], bit/s over the users' window.
        targets: that are to be sensed.
        recent_values: float64 [slots], what the data of recent slots was worth, against their average.
        cancellation_db: how far self-interference is suppressed; None: nobody sends up.
        looked: symbols that went to each target in the refresh interval that runs, by name.
    """

    cell: Cell
    users: tuple[User, ...]
    gains: F64
    mean_gains: F64
    average_rates: F64
    targets: tuple[TrackedTarget, ...] = ()
    recent_values: F64 = field(default_factory=lambda: np.zeros(0))
    cancellation_db: float | None = None
    looked: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        blocks = self.gains.shape[-1] if self.gains.ndim == 2 else 0
        for name, shape in (("gains", (len(self.users), blocks)), ("mean_gains", (len(self.users), blocks))):
            if getattr(self, name).shape != shape or not blocks:
                found = getattr(self, name).shape
                raise IsacError(f"observation.{name} has shape {found}; accepted: [{len(self.users)} users, blocks]")
        if self.average_rates.shape != (len(self.users),):
            raise IsacError(
                f"observation.average_rates: {self.average_rates.shape}; accepted: [{len(self.users)} users]"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A layer's decision for its period: what the next layer gets, and why.

    Attributes:
        setting: the layer's own kind of budget; the next layer knows it.
        reason: in words.
        prices: dual prices by name, of what is scarce at this layer.
    """

    setting: Any
    reason: str
    prices: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@runtime_checkable
class Layer(Protocol):
    """One granularity. Pure: time and all that is known come as arguments."""

    name: str
    period_s: float

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Decide for [t, t + period_s) within what the layer above set; None above: this is the coarsest.

        Raises:
            SolverFailed: it has no answer; any other error of a solver counts as this one.
        """
        ...

    def default(self, observation: Observation) -> Answer:
        """What is safe before the first answer; does not fail."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LayerDecision:
    """What a layer decided at a time.

    Attributes:
        layer: its name.
        at_s, until_s: from when to when it holds.
        setting, reason, prices: of its answer.
        fallback: why an older setting, or the safe one, is in force; None: the setting is of this period.
        missed: periods of this layer that nobody asked for since its last decision.
    """

    layer: str
    at_s: float
    until_s: float
    setting: Any
    reason: str
    prices: Mapping[str, float]
    fallback: str | None = None
    missed: int = 0

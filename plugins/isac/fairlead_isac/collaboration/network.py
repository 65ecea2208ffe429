"""The problem that cells solve together, and what a solution of it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]

#: What a missing share of a target's information, or of a user's least rate, costs in the utility.
SHORTFALL_PRICE = 50.0
#: Of a user's rate scale or of the needed information: a cell that gives less than this with all its time gives none.
#: Contributions have rounding errors of some 1e-10; as time, at 1 / LEAST_PART of it for a unit, they are 1e-6 then.
LEAST_PART = 1e-4


@dataclass(frozen=True, slots=True)
class SharedUser:
    """A user whom any of the cells may serve.

    Attributes:
        name: unique.
        weight: of the logarithm of the rate in the utility.
        min_rate_bits_per_s: what the user must have; 0: nothing.
    """

    name: str
    weight: float = 1.0
    min_rate_bits_per_s: float = 0.0

    def __post_init__(self) -> None:
        _positive("user", self.name, "weight", self.weight)
        _not_negative("user", self.name, "min_rate_bits_per_s", self.min_rate_bits_per_s)


@dataclass(frozen=True, slots=True)
class SharedTarget:
    """A target that any of the cells may sense.

    Attributes:
        name: unique.
        information: Fisher information that is needed a refresh, of one coordinate: 1 / (standard deviation squared).
        deadline_s: within which what the cells have received is at the edge and is processed.
    """

    name: str
    information: float
    deadline_s: float = 0.1

    def __post_init__(self) -> None:
        _positive("target", self.name, "information", self.information)
        _positive("target", self.name, "deadline_s", self.deadline_s)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one cell gets of one target when it gives it all its time.

    Attributes:
        information: Fisher information a refresh, of the coordinate that `SharedTarget.information` is of; independent
            of that of other cells.
        bits: received samples (or what is left of them) that must cross the backhaul.
        cycles: processing at the edge.
    """

    information: float
    bits: float
    cycles: float


@dataclass(frozen=True, slots=True)
class CellLinks:
    """What one cell can do: known to the cell alone until it says so.

    Attributes:
        name: of the cell.
        rate_bits_per_s: of each user that it reaches, when it gives the user all its time.
        sights: of each target that it sees.
        backhaul_bits_per_s: for users' data and received samples together.
        most_sensing: share of its time that may go to sensing at most.
    """

    name: str
    rate_bits_per_s: Mapping[str, float]
    sights: Mapping[str, Sight]
    backhaul_bits_per_s: float
    most_sensing: float = 1.0

    def __post_init__(self) -> None:
        _positive("cell", self.name, "backhaul_bits_per_s", self.backhaul_bits_per_s)
        if not 0.0 <= self.most_sensing <= 1.0:
            raise IsacError(f"cell {self.name!r}: most_sensing {self.most_sensing!r}; accepted: 0 to 1")
        for user, rate in self.rate_bits_per_s.items():
            _not_negative("cell", self.name, f"rate_bits_per_s of {user!r}", rate)
        for target, sight in self.sights.items():
            for name in ("information", "bits", "cycles"):
                _not_negative("cell", self.name, f"{name} of {target!r}", getattr(sight, name))
        object.__setattr__(self, "rate_bits_per_s", MappingProxyType(dict(self.rate_bits_per_s)))
        object.__setattr__(self, "sights", MappingProxyType(dict(self.sights)))


@dataclass(frozen=True, slots=True)
class SharedTask:
    """What all cells must know: users, targets and the edge server.

    Attributes:
        users, targets: in the order of the coordinates of `Contribution.value`.
        compute_cycles_per_s: of the edge server that fuses estimates, for all cells together.
    """

    users: tuple[SharedUser, ...]
    targets: tuple[SharedTarget, ...]
    compute_cycles_per_s: float

    def __post_init__(self) -> None:
        _positive("edge", "server", "compute_cycles_per_s", self.compute_cycles_per_s)
        for kind, them in (("user", self.users), ("target", self.targets)):
            names = [each.name for each in them]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise IsacError(f"{kind} {twice!r} is there twice; accepted: each name once")

    @property
    def names(self) -> tuple[str, ...]:
        """Of users, then of targets."""
        return tuple(each.name for each in (*self.users, *self.targets))

    @property
    def coordinates(self) -> int:
        """Length of a contribution: a rate of each user, information about each target, and computing."""
        return len(self.users) + len(self.targets) + 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the cells have agreed upon.

    Attributes:
        time_share: {cell: {user or target: share of the cell's time}}.
        rate_bits_per_s: of each user, over all cells.
        information: of each target, over all cells, as a part of what is needed (1: met).
        serving: the cell of each user; a user whom no cell reaches is missing.
        sensing: the cells of each target.
        compute_cycles_per_s, backhaul_bits_per_s: what each cell's samples take.
        time_price: what more time of a cell would add to the utility.
        utility: sum of weight log(rate in bit/s) minus the price of shortfalls.
        utility_bound: of the relaxed problem, in which several cells may serve one user; None where it was not solved.
        rounds: of messages.
        left_out: cells that fell silent.
        unmet: why what is not met is not, by user or target.
        fallback: why this is not the optimum, if it is not.
    """

    time_share: Mapping[str, Mapping[str, float]]
    rate_bits_per_s: Mapping[str, float]
    information: Mapping[str, float]
    serving: Mapping[str, str]
    sensing: Mapping[str, tuple[str, ...]]
    compute_cycles_per_s: Mapping[str, float]
    backhaul_bits_per_s: Mapping[str, float]
    time_price: Mapping[str, float]
    utility: float
    utility_bound: float | None = None
    rounds: int = 0
    left_out: tuple[str, ...] = ()
    unmet: Mapping[str, str] = field(default_factory=dict[str, str])
    fallback: str | None = None


def _positive(kind: str, name: str, what: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0.0):
        raise IsacError(f"{kind} {name!r}: {what} {value!r}; accepted: a finite number above 0")


def _not_negative(kind: str, name: str, what: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0.0):
        raise IsacError(f"{kind} {name!r}: {what} {value!r}; accepted: a finite number, 0 or more")

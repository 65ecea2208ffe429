"""Orthogonal stage: the same antennas, band and power for both, at different times."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead_isac.scenario import Cell, Target, User
from fairlead_isac.stages.data import Fairness, data
from fairlead_isac.stages.roster import Plan, Roster
from fairlead_isac.stages.scene import Scene
from fairlead_isac.stages.time_split import split_time


class OrthogonalStage(Roster):
    """Divides time: users' dwell has all power, targets are illuminated in turn by a beam each with all power.

    Echoes of the users' dwell are used as well: they light targets by chance, ``P`` on average.

    Args:
        cell: who sends.
        users: to begin with.
        targets: to begin with.
        fairness: how users divide what is beyond their needs.
    """

    name = "orthogonal"

    def __init__(
        self,
        cell: Cell,
        users: Iterable[User] = (),
        targets: Iterable[Target] = (),
        fairness: Fairness = "balanced",
    ) -> None:
        super().__init__(cell, users, targets)
        self.fairness: Fairness = fairness

    def _plan(self, scene: Scene) -> Plan:
        return split_time(scene, lambda time: data(scene, time, self.fairness))

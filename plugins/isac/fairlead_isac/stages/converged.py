"""Converged stage: one signal carries data and illuminates targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from fairlead_isac.physics.numerology import SPEED_OF_LIGHT
from fairlead_isac.scenario import Cell, FloatArray, Target, User
from fairlead_isac.solvers import illuminate
from fairlead_isac.stages.beams import Peak, matched_directions
from fairlead_isac.stages.data import Data, Fairness, data, needed_efficiency, shortfall, space_peak, weights
from fairlead_isac.stages.decision import Dwell
from fairlead_isac.stages.heard import echo_part
from fairlead_isac.stages.roster import Plan, Roster, illuminating
from fairlead_isac.stages.scene import Scene
from fairlead_isac.stages.sensing import needed_illumination
from fairlead_isac.stages.time_split import divide, sense_only, split_time, target_weights

BISECTIONS = 12
_TRADES = 10
_GOLDEN = (5**0.5 - 1) / 2


class ConvergedStage(Roster):
    """Beams for users that light a target as much as the users' rates allow; targets in turn, users all the time.

    Users' rates lie on the line from their needs (``along = 0``) to their peak (``along = 1``). The point on it is the
    farthest at which targets still get what they need, or an earlier one where prices say so. Where gains vary over the
    band, blocks and powers are chosen under a bound on the delay's information instead, and what else targets need is
    topped up by dwells of their own.

    Args:
        cell: who sends.
        users: to begin with.
        targets: to begin with.
        fairness: what the peak is.
    """

    name = "converged"

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
        if not scene.users:
            return sense_only(scene)
        if scene.selective:
            return split_time(scene, lambda time: _blocks_with_delay(scene, time))
        reserved = scene.budget.time_fraction_sensing[0] if scene.targets else 0.0
        found = space_peak(
            scene, scene.channels, 1 - reserved, scene.budget.power_watts, scene.noise_watts, self.fairness
        )
        need = needed_efficiency(scene, 1 - reserved)
        short = shortfall(found, need)
        if not scene.targets:
            dwell = Dwell(1.0, found.beamformers, tuple(user.name for user in scene.users))
            return Plan((dwell,), "no target: beams for users alone", short)
        start = np.minimum(need, found.efficiency)
        return Line(scene, start, found, reserved).plan(short)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Beams at one point of the line: a dwell for each target, and their illumination in W, float [T].

    Illumination is what would have the same echo's SNR without clutter.
    """

    along: float
    dwells: tuple[Dwell, ...]
    lit: FloatArray
    gap: float
    fallback: str | None


class Line:
    """Points between users' needs and their peak."""

    bisections = BISECTIONS
    how = "the beams light targets"

    def __init__(self, scene: Scene, start: FloatArray, found: Peak, reserved: float) -> None:
        self.scene, self.start, self.found, self.reserved = scene, start, found, reserved
        self.names = tuple(user.name for user in scene.users)
        self.most = scene.antennas * scene.budget.power_watts
        # A reserved share of the time illuminates with all power, divided as the rest is.
        self.need = np.maximum(needed_illumination(scene) - reserved * self.most / len(scene.targets), 0.0)

    def plan(self, short: str | None) -> Plan:
        point = self.point(1.0)
        if not self.met(point):
            point = self._farthest()
        if self.scene.budget.price_sensing > 0:
            point = self._traded(point)
        parts = self.parts(point)
        dwells = [replace(dwell, fraction=float(part)) for dwell, part in zip(point.dwells, parts, strict=True) if part]
        if self.reserved:
            share = divide(np.zeros(len(parts)), self.reserved, target_weights(self.scene))
            dwells += [illuminating(self.scene, at, float(part)) for at, part in enumerate(share)]
        lines = [line for line in (short, point.fallback) if line]
        if not self.met(point):
            lines.append("infeasible: targets need more illumination than users' least rates leave")
        reason = f"users at {100 * point.along:.0f} % of the way from their needs to their peak; {self.how}"
        lit = float(point.lit.max()) / self.most
        return Plan(
            tuple(dwells), reason, "; ".join(lines) or None, point.gap, {"along": point.along, "illumination": lit}
        )

    def point(self, along: float) -> Point:
        if along >= 1.0:
            dwell = Dwell(1.0, self.found.beamformers, self.names)
            lit = (np.abs(self.scene.steering.conj() @ self.found.beamformers.T) ** 2).sum(axis=1)
            lit = lit * [echo_part(self.scene, at, dwell.covariance()) for at in range(len(lit))]
            dwells = tuple(replace(dwell, target=target.name) for target in self.scene.targets)
            return Point(1.0, dwells, lit, 0.0, None)
        efficiency = self.start + along * (self.found.efficiency - self.start)
        return self._shaped(along, np.expm1(efficiency * np.log(2)))

    def _shaped(self, along: float, sinr: FloatArray) -> Point:
        dwells, lit, gap, fallback = [], [], 0.0, None
        power, noise = self.scene.budget.power_watts, self.scene.noise_watts
        for at, (target, towards) in enumerate(zip(self.scene.targets, self.scene.steering, strict=True)):
            found = illuminate(self.scene.channels, towards, sinr, power, noise)
            beams, names = found.beamformers, self.names
            if found.sensing_beam.any():
                beams, names = np.vstack([beams, found.sensing_beam]), (*names, None)
            dwells.append(Dwell(1.0, beams, names, target=target.name))
            lit.append(found.illumination_watts * echo_part(self.scene, at, dwells[-1].covariance()))
            gap, fallback = max(gap, found.gap), fallback or found.fallback
        return Point(along, tuple(dwells), np.array(lit), gap, fallback)

    def met(self, point: Point) -> bool:
        """Whether the targets' needs fit into the time one after the other."""
        return float((self.need / np.maximum(point.lit, 1e-30)).sum()) <= (1 - self.reserved) * (1 + 1e-9)

    def parts(self, point: Point) -> FloatArray:
        return divide(self.need / np.maximum(point.lit, 1e-30), 1 - self.reserved, target_weights(self.scene))

    def _farthest(self) -> Point:
        """The farthest point at which needs are met, or the beginning of the line where none is."""
        low, high, best = 0.0, 1.0, self.point(0.0)
        if not self.met(best):
            return best
        for _ in range(self.bisections):
            middle = (low + high) / 2
            point = self.point(middle)
            if self.met(point):
                low, best = middle, point
            else:
                high = middle
        return best

    def _traded(self, farthest: Point) -> Point:
        """The best point by the budget's prices, by golden sections between the beginning and the farthest."""
        if self.scene.budget.price_rate == 0:
            return self.point(0.0)
        low, high = 0.0, farthest.along
        points = [self.point(high - _GOLDEN * high), self.point(_GOLDEN * high)]
        kept = [farthest, self.point(0.0), *points]
        for _ in range(_TRADES):
            if self.value(points[0]) >= self.value(points[1]):
                high = points[1].along
                points = [self.point(high - _GOLDEN * (high - low)), points[0]]
            else:
                low = points[0].along
                points = [points[1], self.point(low + _GOLDEN * (high - low))]
            kept += points
        allowed = [point for point in kept if self.met(point)] or [farthest]
        return max(allowed, key=self.value)

    def value(self, point: Point) -> float:
        """Weighted rates in bit/s/Hz and illumination's share of the largest, at the budget's prices."""
        budget, share = self.scene.budget, target_weights(self.scene)
        efficiency = self.start + point.along * (self.found.efficiency - self.start)
        rate = float(weights(self.scene) @ efficiency)
        return budget.price_rate * rate + budget.price_sensing * float(share @ point.lit) / (share.sum() * self.most)


def _blocks_with_delay(scene: Scene, time: float) -> Data:
    """Blocks and powers under a bound on the delay's information of the target that needs most of it."""
    asked = [(t.required.range_std_m, at) for at, t in enumerate(scene.targets) if t.required.range_std_m is not None]
    if not asked:
        return data(scene, time, "sum")
    std, at = min(asked)
    per_watt = _delay_per_watt(scene, at) * time
    return data(scene, time, "sum", ((SPEED_OF_LIGHT / 2 / std) ** 2, per_watt))


def _delay_per_watt(scene: Scene, at: int) -> FloatArray:
    """Delay information per W on a block and (rad/s)^2 from the centre, lit by its best user's beam; float [RB]."""
    blocks = scene.channels.shape[1]
    best = (np.abs(scene.channels) ** 2).sum(axis=-1).argmax(axis=0)
    beams = matched_directions(scene.channels[best, np.arange(blocks)])
    lit = np.abs(beams.conj() @ scene.steering[at]) ** 2 * blocks
    elements = scene.resource_elements / blocks * scene.downlink_fraction
    return 2 * elements * lit * scene.snr_per_watt[at]

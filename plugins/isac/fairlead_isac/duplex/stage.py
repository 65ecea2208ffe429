"""Converged stage of a full-duplex cell: beams and receivers together, for users both ways, echo and clutter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from fairlead_isac.duplex.fast import full_duplex
from fairlead_isac.duplex.problem import FullDuplexBeams, FullDuplexProblem
from fairlead_isac.errors import IsacError
from fairlead_isac.physics.arrays import steering
from fairlead_isac.scenario import Budget, Cell, FloatArray, Target, User
from fairlead_isac.stages.beams import Peak
from fairlead_isac.stages.converged import ConvergedStage, Line, Point
from fairlead_isac.stages.data import Fairness, needed_efficiency, shortfall, space_peak
from fairlead_isac.stages.decision import Dwell
from fairlead_isac.stages.roster import Plan, heard_power
from fairlead_isac.stages.scene import Scene

#: Improvements of receivers and prices for one point: more gain some hundredths of a decibel.
TURNS = 1
#: Points of a line are dear: so many are tried for the farthest at which targets have what they need.
TRIES = 6


class FullDuplexStage(ConvergedStage):
    """Beams that light a target while the cell hears its echo and users that send, at the same time.

    In full duplex, with one gain for the band, each dwell's beams and receivers are those of
    :func:`fairlead_isac.duplex.fast.full_duplex`: the echo's SINR is largest behind its receiver, users that receive
    have their rates, users that send their least ones, and what lights clutter or leaves much of the own signal costs.
    Otherwise (half duplex, gains that vary over the band, nobody to serve or nothing to sense) it decides as the
    converged stage does.

    Args:
        cell: who sends.
        users: to begin with.
        targets: to begin with.
        fairness: what the peak is.
        deadline_s: after which no further point is tried, and ``fallback`` says so; None: six are.
        clock: in seconds.
    """

    name = "full_duplex"

    def __init__(
        self,
        cell: Cell,
        users: Iterable[User] = (),
        targets: Iterable[Target] = (),
        fairness: Fairness = "balanced",
        deadline_s: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(cell, users, targets, fairness)
        if deadline_s is not None and not deadline_s > 0.0:
            raise IsacError(f"deadline_s = {deadline_s!r}; accepted: seconds above 0, or None")
        self._deadline_s, self._clock = deadline_s, clock

    def _allowed(self, scene: Scene) -> Budget:
        """All power: what users that send allow is part of the beams."""
        return scene.budget if self._joint(scene) else super()._allowed(scene)

    def _plan(self, scene: Scene) -> Plan:
        if not self._joint(scene):
            return super()._plan(scene)
        ends_at = math.inf if self._deadline_s is None else self._clock() + self._deadline_s
        reserved = scene.budget.time_fraction_sensing[0]
        power = heard_power(scene)
        found = space_peak(scene, scene.channels, 1 - reserved, power, scene.noise_watts, self.fairness)
        need = needed_efficiency(scene, 1 - reserved)
        start = np.minimum(need, found.efficiency)
        line = _JointLine(scene, start, found, reserved, lambda: self._clock() > ends_at)
        plan = line.plan(shortfall(found, need))
        if not line.hurried:
            return plan
        return replace(plan, fallback="; ".join(each for each in (plan.fallback, line.hurried) if each))

    def _joint(self, scene: Scene) -> bool:
        return scene.budget.duplex == "full" and not scene.selective and bool(scene.users) and bool(scene.targets)


@dataclass(frozen=True, slots=True)
class _Lit:
    """A target's joint beams, and their echo in W of illumination without clutter."""

    beams: FullDuplexBeams
    watts: float


class _JointLine(Line):
    """Points between users' needs and their peak, lit by joint beams."""

    how = "joint beams and receivers light targets and hear users"

    def __init__(self, scene: Scene, start: FloatArray, found: Peak, reserved: float, late: Callable[[], bool]) -> None:
        super().__init__(scene, start, found, reserved)
        self._late, self.hurried = late, ""

    def _shaped(self, along: float, sinr: FloatArray) -> Point:
        dwells, lit, fallback = [], [], None
        for at, target in enumerate(self.scene.targets):
            found = self._lit(at, sinr)
            beams, names = found.beams.beamformers, self.names
            extra = found.beams.covariance - beams.T @ beams.conj()
            values, vectors = np.linalg.eigh(extra)
            if values[-1] > 1e-9 * self.scene.budget.power_watts:
                beams, names = np.vstack([beams, np.sqrt(values[-1]) * vectors[:, -1]]), (*names, None)
            dwells.append(Dwell(1.0, beams, names, target=target.name))
            lit.append(found.watts)
            fallback = fallback or found.beams.fallback
        return Point(along, tuple(dwells), np.array(lit), 0.0, fallback)

    def _farthest(self) -> Point:
        """By false position (Illinois) in the logarithm of what needs take of the time."""
        low, high, best = self.point(0.0), self.point(1.0), None
        below, above = self._excess(low), self._excess(high)
        if not below < 0:
            return low
        for number in range(TRIES):
            if self._late():
                self.hurried = f"the deadline is over after {number} of {TRIES} points: users might have more"
                break
            # A little on the side where needs are met: the last of few tries shall be one that holds.
            part = 0.98 * below / (below - above) if np.isfinite(above) else 0.5
            point = self.point(low.along + part * (high.along - low.along))
            found = self._excess(point)
            if found <= 0:
                above = above / 2 if best is not None else above
                low, below, best = point, min(found, -1e-12), point
            else:
                high, above = point, found
        return best or low

    def _excess(self, point: Point) -> float:
        """Logarithm of the time that needs take over the time that there is; not positive where they are met."""
        with np.errstate(divide="ignore"):
            taken = float((self.need / np.maximum(point.lit, 1e-30)).sum()) / max(1 - self.reserved, 1e-30)
            return float(np.log(taken))

    def _lit(self, at: int, sinr: FloatArray) -> _Lit:
        found = full_duplex(self._problem(at, sinr), TURNS)
        return _Lit(found, found.echo_sinr / max(float(self.scene.snr_per_watt[at]), 1e-300))

    def _problem(self, at: int, sinr: FloatArray) -> FullDuplexProblem:
        scene = self.scene
        antennas = scene.cell.echo_antennas
        least = np.array([user.min_rate_bits_per_s for user in scene.senders]) / scene.cell.numerology.bandwidth_hz
        return FullDuplexProblem(
            channels=scene.channels,
            sinr_down=sinr,
            noise_watts=scene.noise_watts,
            uplink=scene.uplink,
            sent_watts=scene.sent_watts,
            sinr_up=np.expm1(least * np.log(2)),
            sending=scene.steering[at],
            hearing=steering(np.array([scene.targets[at].angle_rad]), antennas)[0],
            gain=float(scene.gains[at]),
            clutter_sending=steering(scene.clutter_angles, scene.antennas),
            clutter_hearing=steering(scene.clutter_angles, antennas),
            clutter_gains=scene.clutter_gains,
            echo_noise_watts=scene.echo_noise_watts,
            power_watts=scene.budget.power_watts,
            cancellation_db=scene.cancellation_db,
            residual=scene.residual,
        )

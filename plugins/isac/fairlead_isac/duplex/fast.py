"""Full duplex without a convex solver: closed-form receivers in turn with the exact dual of illumination.

For given receivers, what they hear of the cell's own signal is ``tr(D R)``. The optimum's beams maximise ``a^H R a``
under a price on that, that is under ``tr((I + kappa D) R) <= P'``: after a change of variables by the Cholesky factor
of ``I + kappa D`` it is the problem that :func:`fairlead_isac.solvers.illuminate` solves exactly. The price ``kappa``
is found by golden sections of the true SINR, the power that sending users allow by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fairlead_isac.duplex.problem import FullDuplexBeams, FullDuplexProblem, judge
from fairlead_isac.duplex.receiving import disturbance
from fairlead_isac.scenario import ComplexArray
from fairlead_isac.solvers import illuminate

_TRIES = 8
_BISECTIONS, _LEAST_POWER = 10, 1e-3
"""Of the power that sending users allow: geometric steps down to this share."""
_SLACK = 1e-3
"""Share of the power that may stay unused."""
_GOLDEN = (5**0.5 - 1) / 2
_PRICES = (-2.0, 3.0)
"""Decades of the price of being heard, where 1 weighs it as much as power."""
_NEAR, _FAR_SECTIONS, _NEAR_SECTIONS = 0.6, 7, 3
"""After the first turn, decades around the price found before; sections of the first and of later turns."""


def full_duplex(problem: FullDuplexProblem, turns: int = 5) -> FullDuplexBeams:
    """Beams and receivers for a full-duplex cell; requirements that cannot be met are named in ``fallback``.

    Args:
        problem: what is asked for.
        turns: how often receivers and prices are improved at most; it ends earlier where that gains less than 0.1 %.
    """
    search = _Search(problem)
    best = search.within(np.zeros((len(problem.sending),) * 2))
    for turn in range(turns):
        found = search.priced(best)
        grown = found.echo_sinr / max(best.echo_sinr, 1e-300) - 1
        best = _better(best, replace(found, steps=turn + 1))
        if grown < 1e-3:
            break
    return best


def heard_by(problem: FullDuplexProblem, receiver: ComplexArray, echo: bool) -> ComplexArray:
    """D of ``tr(D R)``, what a receiver hears of the cell's signal by clutter, residual and, if asked, the echo.

    Complex [N, N], not negative.
    """
    antennas = len(problem.sending)
    left = disturbance(len(receiver), 0.0, 1.0, problem.cancellation_db, problem.residual)
    matrix = float((receiver.conj() @ left @ receiver).real) * np.eye(antennas, dtype=np.complex128)
    gains = problem.clutter_gains * np.abs(problem.clutter_hearing.conj() @ receiver) ** 2
    matrix += (problem.clutter_sending.T * gains) @ problem.clutter_sending.conj()
    if echo:
        gain = problem.gain * abs(np.vdot(receiver, problem.hearing)) ** 2
        matrix += gain * np.outer(problem.sending, problem.sending.conj())
    return matrix


class _Search:
    """Looks for prices and power; starts each time from what the last time came to."""

    def __init__(self, problem: FullDuplexProblem) -> None:
        self.problem = problem
        self.decade: float | None = None
        """Of the price of being heard; None: not looked for yet."""
        self.uplink = 0.0
        """Decade of the uplink's share in it, where sending users are at their limit."""
        self._ratio = 1.0
        """The turned problem's power over the power that is sent."""

    def priced(self, at: FullDuplexBeams) -> FullDuplexBeams:
        """Better prices for being heard by the echo's receiver and by those of sending users."""
        shape = _shape(self.problem, at, 10.0**self.uplink)
        if np.allclose(shape, np.trace(shape) / len(shape) * np.eye(len(shape)), atol=1e-9):
            return at
        power = min(float(np.trace(at.covariance).real) * (1 + _SLACK), self.problem.power_watts)
        limited = power < self.problem.power_watts * (1 - 2 * _SLACK)

        def reached(decade: float, uplink: float) -> FullDuplexBeams:
            price = 10.0**decade * _shape(self.problem, at, 10.0**uplink)
            return self.within(price, power) if limited else self.shaped(price, power)

        span = _PRICES if self.decade is None else (self.decade - _NEAR, self.decade + _NEAR)
        sections = _FAR_SECTIONS if self.decade is None else _NEAR_SECTIONS
        self.decade, best = _golden(lambda decade: reached(decade, self.uplink), *span, sections)
        if not limited:
            return _better(best, self.within(10.0**self.decade * shape, power))
        decade, span = self.decade, (self.uplink - 2 * _NEAR, self.uplink + 2 * _NEAR)
        self.uplink, other = _golden(lambda uplink: reached(decade, uplink), *span, _NEAR_SECTIONS)
        return _better(best, other)

    def within(self, price: ComplexArray, near_watts: float | None = None) -> FullDuplexBeams:
        """The most power at which sending users keep their SINR; all of it where no power does.

        Bisects the power's logarithm, around ``near_watts`` where that brackets the answer.
        """
        problem = self.problem
        found = self.shaped(price, problem.power_watts)
        if (found.sinr_up >= problem.sinr_up).all() or self._deaf(found):
            return found
        low, high, best = _LEAST_POWER * problem.power_watts, problem.power_watts, None
        for number in range(_BISECTIONS):
            middle = float(np.sqrt(low * high))
            if near_watts is not None and number < 2 and low < near_watts < high:
                middle = near_watts * (0.8 if number == 0 else 1.25)
                middle = middle if low < middle < high else float(np.sqrt(low * high))
            point = self.shaped(price, middle)
            if self._deaf(point):
                low = middle
            elif (point.sinr_up >= problem.sinr_up).all():
                low, best = middle, point
            else:
                high = middle
            if high / low < 1 + _SLACK:
                break
        return best if best is not None else found

    def _deaf(self, found: FullDuplexBeams) -> bool:
        """Receiving users miss their SINR: more power is needed, not less."""
        return bool((found.sinr_down < self.problem.sinr_down * (1 - 1e-4)).any())

    def shaped(self, price: ComplexArray, power_watts: float) -> FullDuplexBeams:
        """Beams under a price on being heard, with all of a power."""
        problem = self.problem
        back = np.linalg.inv(np.linalg.cholesky(np.eye(len(price)) + price))
        channels, towards = (back @ problem.channels.T).T, back @ problem.sending
        bound = power_watts * (self._ratio if price.any() else 1.0)
        for _ in range(_TRIES):
            found = illuminate(channels, towards, problem.sinr_down, bound, problem.noise_watts)
            beams = (back.conj().T @ np.vstack([found.beamformers, found.sensing_beam]).T).T
            sent = float(np.vdot(beams, beams).real)
            if power_watts * (1 - _SLACK) <= sent <= power_watts * (1 + 1e-12) or sent <= 0:
                break
            bound *= (1 - _SLACK / 2) * power_watts / sent
        else:
            beams = beams * min(1.0, np.sqrt(power_watts / sent))
        self._ratio = bound / power_watts if price.any() else self._ratio
        return judge(problem, beams[:-1], beams.T @ beams.conj(), 0)


def _golden(
    reached: Callable[[float], FullDuplexBeams], low: float, high: float, sections: int
) -> tuple[float, FullDuplexBeams]:
    """Best place between two by golden sections, and what is reached there."""
    tried: dict[float, FullDuplexBeams] = {}

    def at(place: float) -> FullDuplexBeams:
        if place not in tried:
            tried[place] = reached(place)
        return tried[place]

    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    for _ in range(sections):
        if _better(at(left), at(right)) is tried[left]:
            high, right = right, left
            left = high - _GOLDEN * (high - low)
        else:
            low, left = left, right
            right = low + _GOLDEN * (high - low)
    place = left if _better(at(left), at(right)) is tried[left] else right
    return place, tried[place]


def _shape(problem: FullDuplexProblem, at: FullDuplexBeams, uplink: float) -> ComplexArray:
    """What receivers hear, senders' by how near each is to its limit, scaled to a mean of one; complex [N, N]."""
    matrix = heard_by(problem, at.echo_receiver, echo=False) / max(_spread(problem, at.echo_receiver), 1e-300)
    for index, receiver in enumerate(at.uplink_receivers):
        tight = uplink * min(1.0, problem.sinr_up[index] / max(at.sinr_up[index], 1e-300)) ** 4
        # The echo itself is wanted: its light on senders is left to the power.
        matrix = matrix + tight * heard_by(problem, receiver, echo=False) / max(_spread(problem, receiver), 1e-300)
    size = float(np.trace(matrix).real) / len(matrix)
    return matrix / size if size > 0 else matrix


def _spread(problem: FullDuplexProblem, receiver: ComplexArray) -> float:
    return problem.echo_noise_watts * float(np.vdot(receiver, receiver).real)


def _better(one: FullDuplexBeams, other: FullDuplexBeams) -> FullDuplexBeams:
    if (one.fallback is None) != (other.fallback is None):
        return one if one.fallback is None else other
    return one if one.echo_sinr >= other.echo_sinr else other

"""Power of resource blocks and their users under a bound on how well a delay can be estimated: dual Newton, in NumPy.

maximise ``sum_n max_u w_u log2(1 + p_n g_un)`` subject to ``sum_n p_n <= P`` and ``J(p) >= J0`` with the delay's
information ``J(p) = sum_n rho_n (x_n - c)^2``, ``rho_n = s_n p_n``, ``c`` the mean of x weighted by rho. J is concave
in p: the least over c of linear functions. So the dual is convex and smooth (but where users tie) in three variables
lambda, nu and kappa = nu c:

    D = sum_n max_u phi_un(q_n) + lambda P - nu J0,  q_n = lambda - s_n (nu x_n^2 - 2 kappa x_n + kappa^2 / nu)

with ``phi(q) = max_p w ln(1 + p g) - q p``: water filling at the price q_n. Newton's method on D, which is
self-concordant between ties, finds powers whose centre is c. Users tie where two have the largest phi of a block: there
D has an edge, Newton's method may stall, and the optimum shares the block's time between them. Then the maximum is
smoothed by an entropy of strength tau (softmax), tau is lowered, and the softmax's weights are the time shares; the
smoothing costs at most ``tau ln(users)`` a block, which is far below the promised gap.
Sources: Boyd, Vandenberghe, "Convex optimization", 2004, 9.6 (self-concordance); Nesterov, "Smooth minimization of
non-smooth functions", 2005; Wong et al., "Multiuser OFDM with adaptive subcarrier, bit and power allocation", IEEE JSAC
1999 (time shares).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.reference_radio import INFEASIBLE, SOLVED, STOPPED, Floats

SMOOTHING = (1e-3, 1e-5)
"""Strengths of the entropy, in shares of the largest weight."""
STALLED = 1 / 16
"""A step that is shorter has met an edge, where the most of several users has none of the slopes on either side."""
LISTENING = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Weights of a user that hears every block: what no other hears carries only the power that J needs, a vertex of the
primal where Newton's method finds no slope. Lowered one by one as a barrier is; costs its weight a block."""
RESIDUAL = 1e-9
GAP = 1e-4
"""A feasible point that is certainly this near the optimum counts as one."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A decision about resource blocks.

    Attributes:
        power: [users, blocks] watts; of a shared block averaged over its time.
        shares: [users, blocks] of each block's time; columns sum to one.
        rates: [users] bits for each use of all blocks.
        information: J of the power.
        prices: (lambda, nu): bits that a watt more brings, bits that a unit of J0 less brings.
        centre: of the power, as the positions are given.
        value: the weighted sum of rates.
        bound: no powers reach a larger one; infinite where J0 cannot be reached.
        iterations: Newton steps.
        shared: blocks whose time several users have.
        status: SOLVED, INFEASIBLE or STOPPED.
    """

    power: Floats
    shares: Floats
    rates: Floats
    information: float
    prices: tuple[float, float]
    centre: float
    value: float
    bound: float
    iterations: int
    shared: int
    status: int


@dataclass(frozen=True, slots=True)
class _Problem:
    """In scaled units: power one, positions in [-1, 1], sensing gains up to one, weights up to one."""

    weights: Floats
    gains: Floats
    positions: Floats
    sensing: Floats
    information: float

    def price(self, at: Floats) -> tuple[Floats, Floats]:
        """Return q [blocks] and its gradient [3, blocks] at (lambda, nu, kappa)."""
        lam, nu, kappa = at
        if nu == 0:
            return np.full(len(self.positions), lam), np.vstack([np.ones_like(self.positions)] * 3)
        x, c = self.positions, kappa / nu
        slopes = np.vstack([np.ones_like(x), -self.sensing * (x * x - c * c), 2 * self.sensing * (x - c)])
        return lam - self.sensing * nu * (x - c) ** 2, slopes


@dataclass(slots=True)
class _Point:
    """The dual and its derivatives at some prices, with the powers [users, blocks] and shares that belong to them."""

    at: Floats
    value: float
    gradient: Floats
    hessian: Floats
    power: Floats
    shares: Floats


def allocate(
    gains: Floats,
    weights: Floats,
    power: float,
    information: float,
    positions: Floats,
    sensing: Floats,
    most: int,
) -> Blocks:
    """Return powers and time shares; arguments are checked by the caller (``fairlead_kernels.radio``)."""
    middle, half = 0.5 * (positions.max() + positions.min()), 0.5 * max(np.ptp(positions), 1e-300)
    x, strongest = (positions - middle) / half, float(sensing.max())
    unit = power * strongest * half**2
    best, pair, shares = most_information(x, sensing / strongest if strongest > 0 else sensing)
    asked = information * (1 + 2 * RESIDUAL) / unit if information > 0 else 0.0
    heaviest = float(weights.max())
    scaled = _Problem(
        weights / heaviest if heaviest > 0 else np.ones_like(weights),
        gains * power,
        x,
        sensing / strongest if strongest > 0 else sensing,
        asked,
    )
    judge = _Judge(gains, weights, power, positions, sensing, information)
    if asked > 0 and not asked < best * (1 - 1e-9):
        return judge.extreme(pair, shares)
    point, bound, used = _solved(scaled, most)
    prices = (point.at[0] * heaviest / power, point.at[1] * heaviest / unit if point.at[1] else 0.0)
    return judge.blocks(point, pair, shares, prices, bound * heaviest, used)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Measures a decision in the units of the question."""

    gains: Floats
    weights: Floats
    power: float
    positions: Floats
    sensing: Floats
    asked: float

    def blocks(
        self,
        point: _Point,
        pair: NDArray[np.int64],
        halves: Floats,
        prices: tuple[float, float],
        bound: float,
        used: int,
    ) -> Blocks:
        total = float(point.power.sum())
        power = point.power * (self.power / total) if total > 0 else point.power
        if self.measured(power)[0] < self.asked:
            power = self.widened(power, point.shares, pair, halves)
        return self.judged(power, point.shares, prices, bound, used, STOPPED)

    def widened(self, power: Floats, shares: Floats, pair: NDArray[np.int64], halves: Floats) -> Floats:
        """Move as little power to the two telling blocks as reaches J0: J is concave along the way."""
        extreme = np.zeros_like(power)
        extreme[:, pair] = shares[:, pair] * halves * self.power
        low, high = 0.0, 1.0
        for _ in range(40):
            part = 0.5 * (low + high)
            met = self.measured(power + part * (extreme - power))[0] >= self.asked
            low, high = (low, part) if met else (part, high)
        return power + high * (extreme - power)

    def extreme(self, pair: NDArray[np.int64], shares: Floats) -> Blocks:
        """All power on the two blocks that tell most about the delay, for the users that hear them best."""
        power, times = np.zeros_like(self.gains), np.zeros_like(self.gains)
        times[0] = 1
        for block, share in zip(pair, shares, strict=True):
            user = int(np.argmax(self.weights * np.log1p(self.gains[:, block] * self.power * share)))
            times[:, block] = 0
            times[user, block] = 1
            power[user, block] += self.power * share
        return self.judged(power, times, (np.inf, np.inf), np.inf, 0, INFEASIBLE)

    def judged(
        self, power: Floats, shares: Floats, prices: tuple[float, float], bound: float, used: int, status: int
    ) -> Blocks:
        rates = (shares * np.log2(1 + power * self.gains / np.maximum(shares, 1e-300))).sum(1)
        information, centre = self.measured(power)
        bits = tuple(each / np.log(2) for each in prices)
        value, shared = float(self.weights @ rates), int(((shares > 1e-9).sum(0) > 1).sum())
        bound /= np.log(2)
        bound = bound if (self.gains * self.weights[:, None]).any() else 0.0
        status = SOLVED if status != INFEASIBLE and bound - value <= GAP * bound else status
        return Blocks(power, shares, rates, information, (bits[0], bits[1]), centre, value, bound, used, shared, status)

    def measured(self, power: Floats) -> tuple[float, float]:
        """Return J and the centre of powers [users, blocks]."""
        rho = self.sensing * power.sum(0)
        total = rho.sum()
        centre = float((rho * self.positions).sum() / total) if total > 0 else 0.0
        return float((rho * (self.positions - centre) ** 2).sum()), centre


def most_information(x: Floats, sensing: Floats) -> tuple[float, NDArray[np.int64], Floats]:
    """Return the largest J that power one reaches, the blocks that reach it (one or two), their shares of the power.

    ``min_c max_n s_n (x_n - c)^2`` by exchange: c where two blocks tell the same, then the block that tells most there
    in the place of that on its side. The value grows with each exchange; the last pair is the optimum.
    """
    heard = int(np.argmax(sensing))
    c, value, pair, shares = float(x[heard]), 0.0, [heard, heard], np.ones(1)
    for _ in range(2 * len(x) + 2):
        told = sensing * (x - c) ** 2
        best = int(np.argmax(told))
        if not told[best] > value * (1 + 1e-12):
            break
        pair[int(x[best] >= c)] = best
        roots = np.sqrt(sensing[pair])
        shares = roots[::-1] / roots.sum()
        apart = x[pair[1]] - x[pair[0]]
        c = float(x[pair[0]] + shares[0] * apart)
        value = float((roots[0] * shares[0] * apart) ** 2)
    return value, np.array(pair[: len(shares)]), shares


def evaluated(problem: _Problem, at: Floats, tau: float) -> _Point | None:
    """Return the dual at prices (None: outside its domain); tau 0 takes each block's best user alone."""
    q, slopes = problem.price(at)
    if not (q > 0).all() or at[1] < 0:
        return None
    w, g = problem.weights[:, None], problem.gains
    active = w * g > q
    level = np.where(active, w * g / q, 1.0)
    power = np.where(active, w / q - 1 / np.where(active, g, 1.0), 0.0)
    phi = w * np.log(level) - q * power
    top = phi.max(0)
    if tau == 0:
        shares = np.zeros_like(phi)
        shares[phi.argmax(0), np.arange(len(q))] = 1
        value = top
    else:
        parts = np.exp((phi - top) / tau)
        shares = parts / parts.sum(0)
        value = top + tau * np.log(parts.sum(0))
    mean = (shares * power).sum(0)
    bent = (shares * np.where(active, w / q**2, 0.0)).sum(0)
    if tau > 0:
        bent += ((shares * power**2).sum(0) - mean**2) / tau
    gradient = np.array([1.0, -problem.information, 0.0]) - slopes @ mean
    hessian = (slopes * bent) @ slopes.T + _curved(problem, at, mean)
    total = float(value.sum() + at[0] - at[1] * problem.information)
    return _Point(at, total, gradient, hessian, shares * power, shares)


def _curved(problem: _Problem, at: Floats, mean: Floats) -> Floats:
    """The part of the Hessian that the curvature of q makes: a square of (c, -1)."""
    out = np.zeros((3, 3))
    if at[1] > 0:
        c = at[2] / at[1]
        weight = 2 / at[1] * float((problem.sensing * mean).sum())
        out[1:, 1:] = weight * np.array([[c * c, -c], [-c, 1.0]])
    return out


def descend(problem: _Problem, at: Floats, tau: float, free: int, most: int) -> tuple[_Point, int, bool]:
    """Newton's method with backtracking over the first ``free`` prices; also steps taken and whether it converged."""
    point = evaluated(problem, at, tau)
    assert point is not None, "a start inside the domain"
    slow = 0
    for used in range(most):
        gradient, hessian = point.gradient[:free], point.hessian[:free, :free]
        if settled(problem, point, free):
            return point, used, True
        ridge = np.diag(1e-14 * hessian.diagonal() + 1e-100)
        step = np.zeros(3)
        step[:free] = -np.linalg.solve(hessian + ridge, gradient)
        found = _along(problem, point, step, float(gradient @ step[:free]), tau)
        if found is None:
            return point, used, False
        slow = slow + 1 if np.abs(found.at - point.at).max() < 1e-3 * np.abs(step).max() else 0
        point = found
        if slow > 2:
            return point, used + 1, False
    return point, most, settled(problem, point, free)


def settled(problem: _Problem, point: _Point, free: int) -> bool:
    """Power is spent, J reached and its centre right, to a share of each."""
    power, information, centre = np.abs(point.gradient)
    if free == 1:
        return bool(power <= RESIDUAL)
    return bool(power <= RESIDUAL and max(information, centre) <= RESIDUAL * problem.information)


def _along(problem: _Problem, point: _Point, step: Floats, slope: float, tau: float) -> _Point | None:
    size = _inside(problem, point.at, step)
    least = size * (STALLED if tau == 0 else 1e-12)
    while size > least:
        found = evaluated(problem, point.at + size * step, tau)
        if found is not None and found.value <= point.value + 1e-4 * size * slope + 1e-14 * abs(point.value):
            return found
        size *= 0.5
    return None


def _inside(problem: _Problem, at: Floats, step: Floats) -> float:
    """Return how far along the step, one at most, the prices of all blocks stay above a tenth of what they are."""
    size = 1.0
    if at[1] > 0 and step[1] < 0:
        size = min(size, 0.5 * at[1] / -step[1])
    q = problem.price(at)[0]
    while size > 1e-12 and not (problem.price(at + size * step)[0] > 0.1 * q).all():
        size *= 0.7
    return size


def _solved(problem: _Problem, most: int) -> tuple[_Point, float, int]:
    """Without the bound on J first, with it where it is missed; smoothed where an edge stops Newton's method."""
    levels = (problem.weights[:, None] * problem.gains).max(0)
    base = min(1.0, float(np.log1p(levels.max()))) if levels.any() else 1.0
    start = np.array([float(levels.mean()) / 2 if levels.any() else 1e-6, 0.0, 0.0])
    point, used, _ = _edged(problem, start, 1, most, base)
    if problem.information > 0 and _information(problem, point)[0] < problem.information * (1 - RESIDUAL):
        point, more, _ = _edged(problem, _spread(problem, point), 3, most - used, base)
        used += more
    bound = evaluated(problem, point.at, 0.0)
    return point, bound.value if bound is not None else np.inf, used


def _edged(problem: _Problem, at: Floats, free: int, most: int, base: float) -> tuple[_Point, int, bool]:
    point, used, done = descend(problem, at, 0.0, free, min(most, 25))
    for tau in () if done else SMOOTHING:
        point, more, done = descend(problem, point.at, tau * base, free, max(0, most - used))
        used += more
    if free == 1 or done:
        return point, used, done
    for part in LISTENING:
        weight = part * base
        heard = _listening(problem, weight, 4 * at[0] / weight)
        tau = max(SMOOTHING[-1] * base, 0.1 * weight)
        point, more, done = descend(heard, at, tau, 1, max(0, most - used))
        point, again, done = descend(heard, point.at, tau, free, max(0, most - used - more))
        at, used = point.at, used + more + again
        if most <= used or (done and _gap(problem, heard, point) <= GAP / 10):
            break
    return _handed_over(problem, point), used, done


def _gap(problem: _Problem, heard: _Problem, point: _Point) -> float:
    """What the dual's value without the listening user is above the rates of the others, as a share."""
    bound = evaluated(problem, point.at, 0.0)
    if bound is None:
        return np.inf
    snr = point.power * heard.gains / np.maximum(point.shares, 1e-300)
    rates = heard.weights[:, None] * point.shares * np.log1p(snr)
    return 1 - float(rates[:-1].sum()) / max(bound.value, 1e-300)


def _listening(problem: _Problem, weight: float, gain: float) -> _Problem:
    gains = np.vstack([problem.gains, np.full((1, problem.gains.shape[1]), gain)])
    return replace(problem, weights=np.append(problem.weights, weight), gains=gains)


def _handed_over(problem: _Problem, point: _Point) -> _Point:
    """Give what the listening user has of each block to the user that hears it best."""
    blocks = np.arange(point.power.shape[1])
    heir = (problem.weights[:, None] * problem.gains).argmax(0)
    for name in ("power", "shares"):
        array = getattr(point, name)
        kept = array[:-1].copy()
        kept[heir, blocks] += array[-1]
        setattr(point, name, kept)
    return point


def _information(problem: _Problem, point: _Point) -> tuple[float, float]:
    rho = problem.sensing * point.power.sum(0)
    centre = float((rho * problem.positions).sum() / max(rho.sum(), 1e-300))
    return float((rho * (problem.positions - centre) ** 2).sum()), centre


def _spread(problem: _Problem, point: _Point) -> Floats:
    """A start for all prices: the centre of the unbound powers, and a nu that halves the price at the widest block."""
    centre = _information(problem, point)[1]
    widest = float((problem.sensing * (problem.positions - centre) ** 2).max())
    nu = 0.5 * point.at[0] / widest
    return np.array([point.at[0] * 1.1, nu, nu * centre])

"""Beamformers that illuminate a target while users keep their SINR: the exact dual, in NumPy.

maximise ``sum_k |a^H w_k|^2`` subject to ``|h_k^H w_k|^2 >= Gamma_k (sum_{j != k} |h_k^H w_j|^2 + sigma^2)`` and
``sum_k |w_k|^2 <= P``. Its semidefinite relaxation is tight, and its dual is

    minimise ``mu P - sigma^2 sum_k lambda_k``  s.t.  ``M = mu I - a a^H + sum_j lambda_j h_j h_j^H`` positive definite
    and ``lambda_k (1 + 1 / Gamma_k) h_k^H M^-1 h_k <= 1``.

For a price ``mu`` the users' prices are the largest root of ``lambda_k = I_k(lambda)``, where ``I_k`` is concave and
increasing (a minimum over directions ``u`` of linear functions): Newton's method from above, which fixes the directions
``u_k = M^-1 h_k`` and solves a K x K system, falls onto that root. The power of the beams along ``u_k`` is the slope
of ``sum lambda`` in ``mu`` and falls with ``mu``: a bracketed root gives the power that there is. Everything happens in
span{h_1..h_K, a}, with power and noise scaled to one. A sensing stream of its own does not help while a user has a
requirement: its dual constraint ``M >= 0`` follows from the users'.

Sources: Liu et al., "Toward dual-functional radar-communication systems", IEEE TSP 2018; Wiesel, Eldar, Shamai,
"Linear precoding via conic optimization", IEEE TSP 2006 (the dual of beamforming); Nuzman, "Contraction approach to
power control with non-monotonic applications", 2007 (the max-min point).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]

SOLVED, INFEASIBLE, STOPPED = 0, 1, 2
"""What a solver says: the optimum; the nearest to an infeasible demand; the best when iterations ran out."""
TOLERANCE, SETTLED = 1e-8, 1e-9
"""Of the power, and of the last step of the prices (Newton's next one is its square); relative."""
GAP, TURN = 1e-6, 1e-5
"""Above that relative gap the target is turned by this much (radians) towards the users."""
MOST_MAX_MIN = 100
"""Steps towards the max-min point, each of which brings it nearer by a factor."""


@dataclass(frozen=True, slots=True)
class Beams:
    """A decision about beams, in the units of the question.

    Attributes:
        beamformers: complex [users, antennas], one row a user; the received signal of user k is ``h_k^H x``.
        sensing: complex [antennas], a stream of its own: zero unless no user has a requirement.
        duals: [users], watts of illumination that a watt more of noise at that user costs.
        price: watts of illumination for a watt more of power.
        illumination: ``a^H R a``.
        bound: no point that meets the requirements has more (the dual's value); infinite where there is none.
        reached: the share of the asked SINR that all users have; 1 where the requirements are met.
        iterations: K x K systems that were solved.
        status: SOLVED, INFEASIBLE or STOPPED.
    """

    beamformers: Complex
    sensing: Complex
    duals: Floats
    price: float
    illumination: float
    bound: float
    reached: float
    iterations: int
    status: int


@dataclass(slots=True)
class _Point:
    """Prices, directions [d, K] with their products with the channels, and the power that they need."""

    duals: Floats
    directions: Complex
    slope: Floats
    curvature: float = 0.0

    @property
    def power(self) -> float:
        return float(self.slope.sum())


class _Budget:
    """Counts iterations down; a solver stops when none is left."""

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0

    def take(self) -> bool:
        self.used += 1
        return self.used <= self.most


def illuminate(channels: Complex, steering: Complex, sinr: Floats, power: float, noise: float, most: int) -> Beams:
    """Return the beams; arguments are checked by the caller (``fairlead_kernels.radio``)."""
    antennas = channels.shape[1]
    size = float(np.linalg.norm(steering))
    wanted = sinr > 0
    heard = (channels != 0).any(1)
    asked = np.flatnonzero(wanted & heard)
    budget = _Budget(most)
    out = _Scaled(power, noise, size, channels.shape, asked, bool((wanted & ~heard).any()))
    if not asked.size:
        return out.alone(steering)
    scaled = channels[asked].T * np.sqrt(power / noise)
    target = steering / size if size > 0 else np.zeros(antennas, np.complex128)
    basis = span(np.column_stack([scaled, target]))
    return _solve(basis.conj().T @ scaled, basis.conj().T @ target, sinr[asked], budget, out, basis)


def _solve(h: Complex, a: Complex, sinr: Floats, budget: _Budget, out: _Scaled, basis: Complex) -> Beams:
    matched = matched_beam(h, a, sinr)
    if matched is not None:
        return out.beams(basis @ matched, np.zeros(len(sinr)), 1.0, 1.0, 1.0, 0, SOLVED, basis @ a)
    least = least_power(h, sinr, budget)
    if least is None or least.power > 1:
        share, point = max_min(h, sinr, budget)
        beams = basis @ downlink(h, point.directions, share * sinr)
        return out.beams(beams, point.duals, np.inf, np.inf, share, budget.used, INFEASIBLE, basis @ a)
    price, point, status = _priced(h, a, sinr, least, budget)
    beams = downlink(h, point.directions, sinr)
    bound = price - float(point.duals.sum()) if np.isfinite(price) else 1.0
    if bound - (np.abs(a.conj() @ beams) ** 2).sum() > GAP * bound and a.any() and status == SOLVED:
        beams = _turned(h, a, sinr, least, budget, beams)
    return out.beams(basis @ beams, point.duals, price, bound, 1.0, budget.used, status, basis @ a)


def _turned(h: Complex, a: Complex, sinr: Floats, least: _Point, budget: _Budget, before: Complex) -> Complex:
    """Return beams where M is singular at the optimum (a target orthogonal to channels): of a target beside it."""
    beside = a + TURN * (h / np.sqrt((np.abs(h) ** 2).sum(0))).sum(1)
    point = _priced(h, beside / np.linalg.norm(beside), sinr, least, budget)[1]
    beams = downlink(h, point.directions, sinr)
    gains = [(np.abs(a.conj() @ each) ** 2).sum() for each in (before, beams)]
    return beams if gains[1] > gains[0] else before


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Turns a solution in scaled units back."""

    power: float
    noise: float
    size: float
    shape: tuple[int, int]
    asked: NDArray[Any]
    unheard: bool
    """A user with a requirement has a channel of zeros: the others are served."""

    def alone(self, steering: Complex) -> Beams:
        beam = steering * (np.sqrt(self.power) / self.size if self.size > 0 else 0.0)
        most = self.power * self.size**2
        beams, duals = np.zeros(self.shape, np.complex128), np.zeros(self.shape[0])
        if self.unheard:
            return Beams(beams, beam, duals, np.inf, most, np.inf, 0.0, 0, INFEASIBLE)
        return Beams(beams, beam, duals, self.size**2, most, most, 1.0, 0, SOLVED)

    def beams(
        self,
        beams: Complex,
        duals: Floats,
        price: float,
        bound: float,
        reached: float,
        iterations: int,
        status: int,
        target: Complex,
    ) -> Beams:
        scale = self.power * self.size**2
        all_beams, all_duals = np.zeros(self.shape, np.complex128), np.zeros(self.shape[0])
        all_beams[self.asked] = beams.T * np.sqrt(self.power)
        all_duals[self.asked] = duals * scale / self.noise
        gained = float((np.abs(target.conj() @ beams) ** 2).sum()) * scale
        none = np.zeros(self.shape[1], np.complex128)
        value = price * self.size**2
        if self.unheard:
            return Beams(all_beams, none, all_duals, value, gained, np.inf, 0.0, iterations, INFEASIBLE)
        return Beams(all_beams, none, all_duals, value, gained, bound * scale, reached, iterations, status)


def span(vectors: Complex) -> Complex:
    """Return an orthonormal basis [n, d] of the columns (Gram-Schmidt, twice; dependent columns are left out)."""
    basis = np.zeros((vectors.shape[0], min(vectors.shape)), np.complex128)
    found = 0
    for column in vectors.T:
        rest, size = column, np.linalg.norm(column)
        for _ in range(2):
            rest = rest - basis[:, :found] @ (basis[:, :found].conj().T @ rest)
        left = np.linalg.norm(rest)
        if found < basis.shape[1] and left > 1e-10 * size:
            basis[:, found] = rest / left
            found += 1
    return basis[:, :found]


def matched_beam(h: Complex, a: Complex, sinr: Floats) -> Complex | None:
    """Return the beams [d, K] that all point at the target, where the users' SINR allows that."""
    gains = np.abs(a.conj() @ h) ** 2
    if not (gains > 0).all():
        return None
    shares = sinr / (1 + sinr) * (1 / gains + 1)
    if shares.sum() > 1:
        return None
    return a[:, None] * np.sqrt(shares / shares.sum())


def system(h: Complex, u: Complex, sinr: Floats) -> tuple[Floats, Floats]:
    """Return I - J [K, K] and the powers |h_k^H u_k|^2 [K] of directions u [d, K]."""
    gains = np.abs(u.conj().T @ h) ** 2
    own = gains.diagonal().copy()
    matrix = -gains * (sinr / np.maximum(own, 1e-300))[:, None]
    np.fill_diagonal(matrix, 1.0)
    return matrix, own


def priced(h: Complex, a: Complex, sinr: Floats, u: Complex, price: float) -> _Point | None:
    """Return the prices that fit directions u at ``price`` (None: there are none; infinite: of power alone)."""
    matrix, own = system(h, u, sinr)
    scale = sinr / np.maximum(own, 1e-300)
    alone = scale * (np.abs(u) ** 2).sum(0)
    echo = scale * np.abs(a.conj() @ u) ** 2
    try:
        slope, lost = np.linalg.solve(matrix, np.column_stack([alone, echo])).T
    except np.linalg.LinAlgError:
        return None
    duals = price * slope - lost if np.isfinite(price) else slope
    good = np.isfinite(slope).all() and (slope > 0).all() and (duals > 0).all()
    return _Point(duals, u, slope) if good else None


def directions(h: Complex, a: Complex, duals: Floats, price: float) -> tuple[Complex, Complex] | None:
    """Return M^-1 h [d, K] and the Cholesky factor of M, or None where M is not positive definite."""
    size = h.shape[0]
    matrix = (h * duals) @ h.conj().T
    matrix += np.eye(size) * price - np.outer(a, a.conj()) if np.isfinite(price) else np.eye(size)
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    return np.linalg.solve(factor.conj().T, np.linalg.solve(factor, h)), factor


def root(h: Complex, a: Complex, sinr: Floats, u: Complex, price: float, budget: _Budget) -> _Point | None:
    """Return the largest root at ``price``, from directions u; None where there is none or iterations ran out."""
    before = np.inf
    while budget.take():
        point = priced(h, a, sinr, u, price)
        if point is None:
            return None
        found = directions(h, a, point.duals, price)
        if found is None:
            return None
        total = float(point.duals.sum())
        if before - total <= SETTLED * total:
            point.curvature = curvature(h, sinr, point, *found)
            return point
        before, u = total, found[0]
    return None


def curvature(h: Complex, sinr: Floats, point: _Point, u: Complex, factor: Complex) -> float:
    """Return the second derivative of the sum of prices by ``mu`` at a root."""
    products = h.conj().T @ u
    bent = u + h @ (point.slope[:, None] * products)
    own = products.diagonal().real
    first = -(u.conj() * bent).sum(0).real
    second = 2 * (np.abs(np.linalg.solve(factor, bent)) ** 2).sum(0)
    source = sinr * (2 * first**2 / own**3 - second / own**2)
    return float(np.linalg.solve(system(h, u, sinr)[0], source).sum())


def least_power(h: Complex, sinr: Floats, budget: _Budget) -> _Point | None:
    """Return the beams of the least power that meets the SINR; None where no power up to one does."""
    none = np.zeros(h.shape[0], np.complex128)
    users = len(sinr)
    for strength in (1.0 / users, 100.0 / users, 1e4 / users, 1e8 / users):
        start = directions(h, none, np.full(users, strength), np.inf)
        found = root(h, none, sinr, start[0], np.inf, budget) if start is not None else None
        if found is not None:
            return found
    return _least_from_below(h, sinr, budget)


def _least_from_below(h: Complex, sinr: Floats, budget: _Budget) -> _Point | None:
    """Fixed-point steps upwards until Newton's method holds, or until the power is above one."""
    none = np.zeros(h.shape[0], np.complex128)
    duals = np.zeros(len(sinr))
    while duals.sum() <= 1 and budget.take():
        found = directions(h, none, duals, np.inf)
        if found is None:
            return None
        own = (h.conj() * found[0]).sum(0).real
        if not (own > 0).all():
            return None
        if priced(h, none, sinr, found[0], np.inf) is not None:
            return root(h, none, sinr, found[0], np.inf, budget)
        duals = sinr / (1 + sinr) / own
    return None


def max_min(h: Complex, sinr: Floats, budget: _Budget) -> tuple[float, _Point]:
    """Return the largest share of all SINR that power one reaches, and its point: a normalised fixed point."""
    none = np.zeros(h.shape[0], np.complex128)
    duals = np.full(len(sinr), 1 / len(sinr))
    u, share = h, 0.0
    for _ in range(MOST_MAX_MIN):
        found = directions(h, none, duals, np.inf)
        assert found is not None, "a positive semidefinite matrix and the identity"
        u = found[0]
        own = (h.conj() * u).sum(0).real
        needed = sinr * np.maximum(1 - duals * own, 1e-300) / own
        share = 1 / float(needed.sum())
        moved = float(np.abs(needed * share - duals).max())
        duals = needed * share
        if moved < 1e-10 or not budget.take():
            break
    return _fitting(h, sinr, share, _Point(duals, u, duals))


def _fitting(h: Complex, sinr: Floats, share: float, point: _Point) -> tuple[float, _Point]:
    """Lower the share until the directions need no more than power one."""
    for slack in (1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9):
        slope = priced(h, np.zeros(h.shape[0], np.complex128), sinr * share * (1 - slack), point.directions, np.inf)
        if slope is not None and slope.power <= 1:
            return share * (1 - slack), point
    return 0.0, point


def downlink(h: Complex, u: Complex, sinr: Floats) -> Complex:
    """Return beams [d, K] along u whose SINR are met exactly, scaled up to power one."""
    unit = u / np.sqrt((np.abs(u) ** 2).sum(0))
    gains = np.abs(h.conj().T @ unit) ** 2
    matrix = -sinr[:, None] * gains
    np.fill_diagonal(matrix, gains.diagonal())
    powers = np.linalg.solve(matrix, sinr) if sinr.any() else np.ones(len(sinr))
    return unit * np.sqrt(powers / powers.sum())


def _priced(h: Complex, a: Complex, sinr: Floats, least: _Point, budget: _Budget) -> tuple[float, _Point, int]:
    """Find the price at which the beams need power one: Newton on the power's inverse square root, in a bracket."""
    spare = 1 - least.power
    if spare <= 10 * TOLERANCE or not a.any():
        return np.inf, least, SOLVED
    aim = (spare - TOLERANCE) ** -0.5
    low, high, price = 0.0, 1 / spare, 1.0
    best, best_price = least, np.inf
    while high - low > 1e-14 * high:
        point = root(h, a, sinr, best.directions, price, budget)
        if budget.used > budget.most:
            return best_price, best, STOPPED
        if point is None or point.power >= 1:
            low = price
        else:
            high, best, best_price = price, point, price
            if 1 - point.power <= 2 * TOLERANCE:
                break
        price = _next(price, point, least.power, aim, low, high)
    return best_price, best, SOLVED


def _next(price: float, point: _Point | None, least: float, aim: float, low: float, high: float) -> float:
    """Return the next price: a Newton step where it stays inside the bracket, else the middle."""
    middle = 0.5 * (low + high)
    if point is None or point.curvature >= 0 or point.power <= least:
        return middle
    above = point.power - least
    step = price + (aim - above**-0.5) / (-0.5 * above**-1.5 * point.curvature)
    return step if low < step < high else middle

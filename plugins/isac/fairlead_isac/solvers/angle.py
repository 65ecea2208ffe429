"""Beams for the sharpest estimate of a target's angle while users keep their SINR: the global optimum, in milliseconds.

Of a monostatic radar whose receiving array is centred (``b^H b' = 0``) the Cramer-Rao bound of the angle is
``sigma^2 / (2 |alpha|^2 L |b|^2 f(R))`` with the information

    f(R) = spread a^H R a + a'^H R a' - |a'^H R a|^2 / a^H R a,  spread = |b'|^2 / |b|^2,

concave in R: the least over c of ``tr(R G(c))``, ``G(c) = spread a a^H + (a' - c a)(a' - c a)^H``. With a sensing
stream beside the users' beams the semidefinite relaxation is tight. Its dual, in span{h_1..h_K, a, a'}, has K + 3 real
variables

    minimise mu - sum_k lambda_k  s.t.  mu I - G(c) + sum_j lambda_j h_j h_j^H - (1 + 1/Gamma_k) lambda_k h_k h_k^H >= 0

(and without the last term, for the sensing stream), linear in c as a Schur complement. A barrier method follows its
central path; the inverses of the constraints are the primal covariances, feasible at every point of the path.

Sources: Liu et al., "Cramer-Rao bound optimization for joint radar-communication beamforming", IEEE TSP 2022; Boyd,
Vandenberghe, "Convex optimization", 2004, chapter 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero
from fairlead_isac.solvers.illumination import illuminate
from fairlead_kernels.reference_radio import span

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]
GROWTH = 30.0
"""Of the barrier's sharpness from one centre to the next."""
NEAR = 1e-3
"""Newton's decrement that is near enough to a centre: below one, the covariances there are positive."""


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Beams and what they tell about an angle.

    Attributes:
        beamformers: complex [users, antennas].
        sensing_covariance: complex [antennas, antennas], of the stream without data, watts.
        information: f(R), the angle's bound is ``sigma^2 / (2 |alpha|^2 L |b|^2 f)``.
        gap: what the optimum can have more at most, as a share of it; infinite where the SINR are infeasible.
        iterations: Newton steps.
        fallback: why this is not the optimum that was asked for; None where it is.
    """

    beamformers: Complex
    sensing_covariance: Complex
    information: float
    gap: float
    iterations: int
    fallback: str | None

    @property
    def covariance(self) -> Complex:
        """The transmitted covariance R, complex [antennas, antennas], watts."""
        return self.beamformers.T @ self.beamformers.conj() + self.sensing_covariance


def angle_information(covariance: Complex, steering: Complex, derivative: Complex, spread: float) -> float:
    """Return f(R) of a covariance [antennas, antennas] for a and a' [antennas]."""
    lit = float((steering.conj() @ covariance @ steering).real)
    bent = float((derivative.conj() @ covariance @ derivative).real)
    cross = abs(derivative.conj() @ covariance @ steering) ** 2
    return spread * lit + bent - (cross / lit if lit > 0 else bent)


def sharpen(
    channels: Any,
    steering: Any,
    derivative: Any,
    spread: float,
    sinr: Any,
    power_watts: float,
    noise_watts: float,
    *,
    precision: float = 1e-5,
    most_iterations: int = 120,
) -> Sharpness:
    """Maximise the angle's information subject to ``SINR_k >= sinr[k]`` and ``tr R <= power_watts``.

    Reaches the global optimum of the convex program within ``precision``. Where the SINR are infeasible, or iterations
    run out before the first centre, the answer is that of ``illuminate`` and ``fallback`` says so.

    Args:
        channels: complex [users, antennas]; user k receives ``h_k^H x``.
        steering, derivative: a and a' = da/dtheta, complex [antennas].
        spread: ``|b'|^2 / |b|^2`` of the receiving array, which is centred.
        sinr: [users], linear; 0: no requirement, and no beam.
        power_watts: of all beams.
        noise_watts: at each user.
        precision: the largest gap, as a share of the optimum.
        most_iterations: bounds the time.

    Raises:
        IsacError: a shape that does not fit, a number that is not finite, a zero steering vector or derivative.
    """
    a = array_of("steering", steering, np.complex128, None)
    d = array_of("derivative", derivative, np.complex128, len(a))
    h = array_of("channels", channels, np.complex128, None, len(a))
    gamma = at_least_zero("sinr", sinr, len(h))
    power, noise = above_zero("power_watts", power_watts), above_zero("noise_watts", noise_watts)
    if not (a.any() and d.any() and spread >= 0):
        raise IsacError(f"steering, derivative, spread: accepted: vectors that are not zero, at least 0; got {spread}")
    lit = illuminate(h, a, gamma, power, noise)
    asked = np.flatnonzero(gamma > 0)
    if lit.fallback is not None and lit.fallback.startswith("infeasible"):
        return _as_lit(lit.beamformers, lit.sensing_beam, a, d, spread, 0, lit.fallback)
    scale = float(np.linalg.norm(a)) * np.sqrt(max(spread, (np.abs(d) ** 2).sum() / (np.abs(a) ** 2).sum()))
    users = h[asked].T * np.sqrt(power / noise)
    basis = span(np.column_stack([users, a, d]))
    path = _Path(basis.conj().T @ users, basis.conj().T @ a / scale, basis.conj().T @ d / scale, spread, gamma[asked])
    parts, bound, used = path.follow(precision, most_iterations)
    if parts is None:
        return _as_lit(lit.beamformers, lit.sensing_beam, a, d, spread, used, f"stopped after {used} iterations")
    beams, sensing = rank_one(parts, path.channels)
    all_beams = np.zeros_like(h)
    all_beams[asked] = (basis @ beams).T * np.sqrt(power)
    stream = basis @ sensing @ basis.conj().T * power
    found = Sharpness(all_beams, stream, 0.0, 0.0, used, None)
    information = angle_information(found.covariance, a, d, spread)
    gap = max(0.0, 1 - information / (bound * power * scale**2))
    late = f"stopped after {used} iterations: all SINR are met, at most {gap:.1e} below the optimum"
    return Sharpness(all_beams, stream, information, gap, used, None if gap <= 2 * precision else late)


def _as_lit(
    beams: Complex, stream: Complex, a: Complex, d: Complex, spread: float, used: int, reason: str
) -> Sharpness:
    sensing = np.outer(stream, stream.conj())
    covariance = beams.T @ beams.conj() + sensing
    return Sharpness(beams, sensing, angle_information(covariance, a, d, spread), np.inf, used, reason)


def rank_one(parts: Complex, channels: Complex) -> tuple[Complex, Complex]:
    """Return beams [d, K] with the SINR of the parts [K + 1, d, d], and the covariance that they leave to sensing."""
    aimed = np.einsum("kij,jk->ik", parts[:-1], channels)
    heard = (channels.conj() * aimed).sum(0).real
    beams = aimed / np.sqrt(np.maximum(heard, 1e-300))
    left = parts.sum(0) - beams @ beams.conj().T
    values, vectors = np.linalg.eigh((left + left.conj().T) / 2)
    return beams, (vectors * np.maximum(values, 0)) @ vectors.conj().T


class _Path:
    """The central path of the dual in scaled units: power and noise one."""

    def __init__(self, channels: Complex, a: Complex, d: Complex, spread: float, sinr: Floats) -> None:
        self.channels, self.a = channels, a
        size, users = channels.shape
        width = size + 2
        own = np.einsum("ik,jk->kij", channels, channels.conj())
        self.constant = np.zeros((width, width), np.complex128)
        self.constant[:size, size], self.constant[:size, size + 1] = np.sqrt(spread) * a, d
        self.constant += self.constant.conj().T
        self.constant[size, size] = self.constant[size + 1, size + 1] = 1
        # [constraints, variables, width, width]: one constraint a user and one for the sensing stream.
        self.slopes = np.zeros((users + 1, users + 3, width, width), np.complex128)
        self.slopes[:, 0, :size, :size] = np.eye(size)
        for k in range(users):
            self.slopes[:, 1 + k, :size, :size] = own[k]
            self.slopes[k, 1 + k, :size, :size] -= (1 + 1 / sinr[k]) * own[k]
        for column, unit in ((users + 1, -1), (users + 2, -1j)):
            self.slopes[:, column, :size, size + 1] = unit * a
            self.slopes[:, column, size + 1, :size] = (unit * a).conj()
        self.cost = np.concatenate([[1.0], -np.ones(users), [0.0, 0.0]])
        self.size, self.users, self.weight = size, users, (users + 1) * width + users
        strength = (np.abs(channels) ** 2).sum(0)
        price = 4 * float((np.abs(self.constant[:size, size:]) ** 2).sum()) + 1e-300
        self.at = np.concatenate([[price], price / (8 * users * (1 + 1 / sinr) * strength), [0.0, 0.0]])

    def follow(self, precision: float, most: int) -> tuple[Complex | None, float, int]:
        """Return the parts [K + 1, d, d] of the last centre, the dual's value there, and Newton steps."""
        sharp, used, parts, bound = self.weight / self.value(), 0, None, np.inf
        while used < most:
            more, step = self.centre(sharp, most - used)
            used += more
            if step is None:
                break
            parts, bound = self.parts(sharp, step), self.value()
            if self.weight / sharp <= 0.5 * precision * max(bound, 1e-300):
                break
            sharp *= GROWTH
        return parts, bound, used

    def parts(self, sharp: float, step: Floats) -> Complex:
        """Return the covariances [K + 1, d, d] near a centre: with the step towards it they are exactly feasible."""
        inverse = np.linalg.inv(self.matrices(self.at))
        moved = inverse @ np.einsum("v,kvij->kij", step, self.slopes) @ inverse
        return (inverse - moved)[:, : self.size, : self.size] / sharp

    def value(self) -> float:
        return float(self.cost @ self.at)

    def matrices(self, at: Floats) -> Complex:
        return self.constant + np.einsum("v,kvij->kij", at, self.slopes)

    def barrier(self, at: Floats, sharp: float) -> float:
        prices = at[1 : 1 + self.users]
        if not (prices > 0).all():
            return np.inf
        try:
            factors = np.linalg.cholesky(self.matrices(at))
        except np.linalg.LinAlgError:
            return np.inf
        logs = 2 * np.log(np.einsum("kii->ki", factors).real).sum() + np.log(prices).sum()
        return sharp * float(self.cost @ at) - float(logs)

    def centre(self, sharp: float, most: int) -> tuple[int, Floats | None]:
        """Newton's method to the centre of a sharpness; steps taken, and the last that was not (None: not there)."""
        for used in range(most):
            gradient, hessian = self.derivatives(sharp)
            scale = 1 / np.sqrt(hessian.diagonal())
            step = -scale * np.linalg.solve(hessian * scale * scale[:, None], gradient * scale)
            decrement = -float(gradient @ step)
            if decrement < NEAR:
                return used, step
            now, size = self.barrier(self.at, sharp), 1.0
            while size > 1e-10 and self.barrier(self.at + size * step, sharp) > now - 0.1 * size * decrement:
                size *= 0.5
            if size <= 1e-10:
                return used, None
            self.at = self.at + size * step
        return most, None

    def derivatives(self, sharp: float) -> tuple[Floats, Floats]:
        inverse = np.linalg.inv(self.matrices(self.at))
        turned = inverse[:, None] @ self.slopes
        gradient = sharp * self.cost - np.einsum("kvii->v", turned).real
        variables = turned.shape[1]
        left = turned.transpose(1, 0, 2, 3).reshape(variables, -1)
        right = turned.transpose(1, 0, 3, 2).reshape(variables, -1)
        hessian = (left @ right.T).real
        prices = self.at[1 : 1 + self.users]
        gradient[1 : 1 + self.users] -= 1 / prices
        hessian[range(1, 1 + self.users), range(1, 1 + self.users)] += 1 / prices**2
        return gradient, hessian

"""Beampatterns by convex programs: radar alone, and the nearest whose beams carry data (Liu et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero
from fairlead_isac.solvers.reference.convex import Solution, cvxpy, inner, outer, solved


def pattern_reference(desired: Any, steering: Any, power_watts: float, weights: Any = None) -> Solution:
    """Minimise ``sum_l weight_l (alpha desired_l - a_l^H R a_l)^2`` over alpha and R with P / N on each antenna.

    Source: Stoica, Li, Xie, "On probing signal design for MIMO radar", IEEE TSP 2007; Liu et al. 2018, eq. (8).

    Args:
        desired: [angles], the wanted power, up to a factor.
        steering: complex [angles, antennas].
        power_watts: of all antennas together.
        weights: [angles]; None: 1 each.

    Returns:
        Arrays ``covariance`` [antennas, antennas]; the value is the error of powers in units of ``power_watts``.

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
        IsacError: arguments are bad.
    """
    a = array_of("steering", steering, np.complex128, None, None)
    angles, antennas = a.shape
    wanted = at_least_zero("desired", desired, angles)
    w = np.ones(angles) if weights is None else at_least_zero("weights", weights, angles)
    power, cp = above_zero("power_watts", power_watts), cvxpy()
    covariance, alpha = cp.Variable((antennas, antennas), hermitian=True), cp.Variable()
    lit = cp.hstack([inner(cp, outer(each), covariance) for each in a])
    error = cp.sum(cp.multiply(w, cp.square(alpha * wanted - lit)))
    limits = [covariance >> 0, cp.real(cp.diag(covariance)) == 1 / antennas]
    found = solved(cp.Problem(cp.Minimize(error), limits))
    return replace(found, arrays={"covariance": covariance.value * power})


def shared_reference(wanted: Any, channels: Any, sinr: Any, noise_watts: float) -> Solution:
    """Minimise ``|sum_k T_k - R2|_F^2`` with R2's diagonal and ``SINR_k >= Gamma_k``: Liu et al. 2018, (25).

    Args:
        wanted: R2, complex [antennas, antennas], watts.
        channels: complex [users, antennas].
        sinr: [users], above zero.
        noise_watts: at each user.

    Returns:
        Arrays ``covariance`` and ``beamformers`` [users, antennas] (``T h / sqrt(h^H T h)``, which have the same SINR).

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
        IsacError: the SINR are infeasible, or arguments are bad.
    """
    h = array_of("channels", channels, np.complex128, None, None)
    antennas = h.shape[1]
    r2 = array_of("wanted", wanted, np.complex128, antennas, antennas)
    gamma, noise = at_least_zero("sinr", sinr, len(h)), above_zero("noise_watts", noise_watts)
    power, cp = above_zero("tr wanted", float(np.trace(r2).real)), cvxpy()
    parts = [cp.Variable((antennas, antennas), hermitian=True) for _ in h]
    sent = sum(parts[1:], start=parts[0])
    limits = [part >> 0 for part in parts] + [cp.real(cp.diag(sent)) == r2.diagonal().real / power]
    for channel, part, asked in zip(h * np.sqrt(power / noise), parts, gamma, strict=True):
        limits.append((1 + 1 / asked) * inner(cp, outer(channel), part) - inner(cp, outer(channel), sent) >= 1)
    found = solved(cp.Problem(cp.Minimize(cp.sum_squares(sent - r2 / power)), limits), scale=power**2)
    values = np.array([part.value for part in parts]) * power
    aimed = np.einsum("kij,kj->ki", values, h)
    beams = aimed / np.sqrt(np.einsum("ki,ki->k", h.conj(), aimed).real)[:, None]
    return replace(found, arrays={"covariance": values.sum(0), "beamformers": beams})

"""The least Cramer-Rao bound of an angle under the users' SINR, as a semidefinite program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero
from fairlead_isac.solvers.reference.convex import Solution, cvxpy, inner, outer, solved


def angle_reference(
    channels: Any,
    steering: Any,
    derivative: Any,
    spread: float,
    sinr: Any,
    power_watts: float,
    noise_watts: float,
) -> Solution:
    """Maximise the angle's information ``spread a^H R a + a'^H R a' - |a'^H R a|^2 / a^H R a`` under the users' SINR.

    Arguments are those of ``solvers.sharpen``. A sensing stream S beside the parts T_k of users makes it tight:
    what the rank-one beams ``T_k h / sqrt(h^H T_k h)`` leave of the optimal R is its covariance.
    Source: Liu et al., "Cramer-Rao bound optimization for joint radar-communication beamforming", IEEE TSP 2022.

    Returns:
        Arrays ``covariance`` [antennas, antennas] and ``parts`` [users + 1, antennas, antennas], S last.

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
        IsacError: the SINR are infeasible, or arguments are bad.
    """
    h = array_of("channels", channels, np.complex128, None, None)
    a = array_of("steering", steering, np.complex128, h.shape[1])
    d = array_of("derivative", derivative, np.complex128, h.shape[1])
    gamma = at_least_zero("sinr", sinr, len(h))
    power, noise = above_zero("power_watts", power_watts), above_zero("noise_watts", noise_watts)
    scaled, size = h * np.sqrt(power / noise), float(np.linalg.norm(a))
    basis = np.linalg.qr(np.vstack([scaled, a, d]).T)[0]
    scaled, a, d = scaled @ basis.conj(), basis.conj().T @ a / size, basis.conj().T @ d / size
    cp, width = cvxpy(), basis.shape[1]
    parts = [cp.Variable((width, width), hermitian=True) for _ in range(len(h) + 1)]
    sent = sum(parts[1:], start=parts[0])
    lit, told = inner(cp, outer(a), sent), cp.Variable()
    cross = d.conj() @ sent @ a
    # told <= a'^H R a' - |a'^H R a|^2 / a^H R a, as a Schur complement in real numbers.
    schur = [[inner(cp, outer(d), sent) - told, cp.real(cross), cp.imag(cross)]]
    schur += [[cp.real(cross), lit, 0.0], [cp.imag(cross), 0.0, lit]]
    limits = [part >> 0 for part in parts] + [cp.real(cp.trace(sent)) <= 1, cp.bmat(schur) >> 0]
    for channel, part, asked in zip(scaled, parts, gamma, strict=False):
        limits.append((1 + 1 / asked) * inner(cp, outer(channel), part) - inner(cp, outer(channel), sent) >= 1)
    found = solved(cp.Problem(cp.Maximize(spread * lit + told), limits), scale=power * size**2)
    values = np.array([basis @ part.value @ basis.conj().T for part in parts]) * power
    return replace(found, arrays={"covariance": values.sum(0), "parts": values})

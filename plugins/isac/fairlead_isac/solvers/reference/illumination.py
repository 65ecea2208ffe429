"""Illumination as a semidefinite program, whole or in the span of channels and target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero
from fairlead_isac.solvers.reference.convex import Solution, cvxpy, inner, outer, solved


def illuminate_reference(
    channels: Any, steering: Any, sinr: Any, power_watts: float, noise_watts: float, *, reduced: bool = False
) -> Solution:
    """Maximise ``a^H R a`` over ``R = sum T_k`` with ``SINR_k >= Gamma_k`` and ``tr R <= P``: the relaxation, tight.

    Arguments are those of ``solvers.illuminate``, with every SINR above zero. Arrays: ``parts`` [users, antennas,
    antennas].

    Args:
        reduced: in an orthonormal basis of span{h_1..h_K, a}, where the optimum lies.

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
        IsacError: the SINR are infeasible, or arguments are bad.
    """
    h = array_of("channels", channels, np.complex128, None, None)
    a = array_of("steering", steering, np.complex128, h.shape[1])
    gamma = at_least_zero("sinr", sinr, h.shape[0])
    power, noise = above_zero("power_watts", power_watts), above_zero("noise_watts", noise_watts)
    scaled, size = h * np.sqrt(power / noise), float(np.linalg.norm(a))
    target = a / size
    basis = np.linalg.qr(np.vstack([scaled, target]).T)[0] if reduced else np.eye(h.shape[1])
    scaled, target = scaled @ basis.conj(), basis.conj().T @ target
    cp, width = cvxpy(), basis.shape[1]
    parts = [cp.Variable((width, width), hermitian=True) for _ in h]
    sent = sum(parts[1:], start=parts[0])
    limits = [part >> 0 for part in parts] + [cp.real(cp.trace(sent)) <= 1]
    for channel, part, asked in zip(scaled, parts, gamma, strict=True):
        own = outer(channel)
        limits.append((1 + 1 / asked) * inner(cp, own, part) - inner(cp, own, sent) >= 1)
    found = solved(cp.Problem(cp.Maximize(inner(cp, outer(target), sent)), limits), scale=power * size**2)
    whole = np.array([basis @ part.value @ basis.conj().T * power for part in parts])
    return replace(found, arrays={"parts": whole})

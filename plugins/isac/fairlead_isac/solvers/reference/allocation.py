"""Powers and time shares of resource blocks under a bound on the delay's information, as a cone program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fairlead_isac.solvers.checks import above_zero, at_least_zero
from fairlead_isac.solvers.reference.convex import Solution, cvxpy, solved


def allocate_reference(
    gains: Any,
    weights: Any,
    power_watts: float,
    delay_information: float = 0.0,
    positions: Any = None,
    sensing_gains: Any = None,
) -> Solution:
    """Maximise ``sum w x log2(1 + p g / x)`` over powers p and time shares x: exponential cones, J as a quotient.

    Arguments are those of ``solvers.allocate``. Arrays: ``power`` and ``shares`` [users, blocks].

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
        IsacError: the information is infeasible, or arguments are bad.
    """
    g = at_least_zero("gains", gains, None, None)
    users, blocks = g.shape
    w, power = at_least_zero("weights", weights, users), above_zero("power_watts", power_watts)
    x = np.arange(blocks, dtype=float) if positions is None else np.asarray(positions, float)
    s = np.ones(blocks) if sensing_gains is None else at_least_zero("sensing_gains", sensing_gains, blocks)
    half = max(0.5 * np.ptp(x), 1e-300)
    x = (x - 0.5 * (x.max() + x.min())) / half
    cp = cvxpy()
    p, shares = cp.Variable((users, blocks), nonneg=True), cp.Variable((users, blocks), nonneg=True)
    rate = -cp.rel_entr(shares, shares + cp.multiply(g * power, p)) / np.log(2)
    limits = [cp.sum(shares, axis=0) <= 1, cp.sum(p) <= 1]
    if delay_information > 0:
        rho = cp.multiply(s / s.max(), cp.sum(p, axis=0))
        told = rho @ x**2 - cp.quad_over_lin(rho @ x, cp.sum(rho))
        limits.append(told >= delay_information / (power * s.max() * half**2))
    found = solved(cp.Problem(cp.Maximize(cp.sum(cp.multiply(w[:, None], rate))), limits))
    return replace(found, arrays={"power": p.value * power, "shares": shares.value})

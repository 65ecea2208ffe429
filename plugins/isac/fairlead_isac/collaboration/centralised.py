"""The same problem whole, in CVXPY with Clarabel: what ADMM is checked against. Needs the extra ``reference``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead_isac.collaboration.local import needs
from fairlead_isac.collaboration.network import SHORTFALL_PRICE, CellLinks, SharedTask
from fairlead_isac.errors import IsacError, MissingExtra


def centralised_utility(
    task: SharedTask,
    cells: Sequence[CellLinks],
    rate_scale: Sequence[float],
    serving: Mapping[str, str] | None = None,
) -> float:
    """Return the best utility that one solver with all cells' knowledge finds.

    Args:
        task: users, targets, server; each user must be reached by some cell.
        cells: what each can do.
        rate_scale: bit/s by user, as the cells had it: the price of a missing least rate is in its units.
        serving: the one cell of each user; None: all cells may serve all users.

    Raises:
        MissingExtra: CVXPY is not installed.
        IsacError: the solver has no solution.
    """
    try:
        import cvxpy as cp
    except ImportError:
        raise MissingExtra(
            "a centralised solution needs CVXPY and Clarabel; install fairlead-isac[reference]"
        ) from None
    scale = np.asarray(rate_scale)
    rates, seen, computing, limits = 0.0, 0.0, 0.0, []
    for links in cells:
        share = _Shares(cp, task, links, scale, serving)
        rates, seen, computing = rates + share.rates, seen + share.seen, computing + share.computing
        limits += share.limits
    least = np.array([user.min_rate_bits_per_s for user in task.users]) / scale
    missing = cp.sum(cp.pos(least - rates)) + cp.sum(cp.pos(1.0 - seen))
    earned = np.array([user.weight for user in task.users]) @ cp.log(rates)
    problem = cp.Problem(cp.Maximize(earned - SHORTFALL_PRICE * missing), [*limits, computing <= 1.0])
    problem.solve(solver=cp.CLARABEL)
    if problem.value is None or not np.isfinite(problem.value):
        raise IsacError(f"centralised problem: {problem.status}; accepted: each user is reached by a cell")
    return float(problem.value) + float(np.array([user.weight for user in task.users]) @ np.log(scale))


class _Shares:
    """One cell's variables and limits."""

    def __init__(
        self, cp: Any, task: SharedTask, links: CellLinks, scale: Any, serving: Mapping[str, str] | None
    ) -> None:
        full = np.array([links.rate_bits_per_s.get(user.name, 0.0) for user in task.users]) / scale
        if serving is not None:
            full = full * np.array([serving.get(user.name) == links.name for user in task.users])
        sights = [links.sights.get(target.name) for target in task.targets]
        wanted = np.array([target.information for target in task.targets])
        information = np.array([0.0 if sight is None else sight.information for sight in sights]) / wanted
        taken = needs(task, links)
        serve = cp.Variable(len(full), nonneg=True)
        sense = cp.Variable(len(information), nonneg=True)
        self.rates, self.seen = cp.multiply(full, serve), cp.multiply(information, sense)
        self.computing = taken.compute @ sense / task.compute_cycles_per_s
        backhaul = (full * scale) @ serve + taken.backhaul @ sense
        self.limits = [
            cp.sum(serve) + cp.sum(sense) <= 1.0,
            cp.sum(sense) <= links.most_sensing,
            backhaul / links.backhaul_bits_per_s <= 1.0,
        ]

"""CVXPY where it is installed, and what a solved program gives."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError, MissingExtra


@dataclass(frozen=True, slots=True)
class Solution:
    """A convex program's optimum.

    Attributes:
        value: of the objective, in the units of the question.
        status: what Clarabel says of it (``optimal``, ``optimal_inaccurate``).
        whole_s: CVXPY and Clarabel together, by the given clock.
        solver_s: Clarabel alone, as it says itself.
        arrays: the optimal variables by name.
    """

    value: float
    status: str
    whole_s: float
    solver_s: float
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def cvxpy() -> Any:
    """Return the module, or say which extra brings it.

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
    """
    try:
        import clarabel  # noqa: F401
        import cvxpy as module
    except ImportError as error:
        raise MissingExtra(f"{error.name}: is not installed; pip install 'fairlead-isac[reference]'") from None
    return module


def solved(problem: Any, clock: Callable[[], float] = time.perf_counter, scale: float = 1.0) -> Solution:
    """Solve with Clarabel; ``scale`` turns the objective into the question's units.

    Raises:
        IsacError: the program has no solution.
    """
    module = cvxpy()
    began = clock()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(solver=module.CLARABEL)
    except module.error.SolverError as error:
        raise IsacError(f"the program: Clarabel failed ({error}); accepted: feasible, well scaled questions") from None
    whole = clock() - began
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise IsacError(f"the program: is {problem.status}; accepted: feasible questions")
    return Solution(float(problem.value) * scale, problem.status, whole, float(problem.solver_stats.solve_time))


def inner(module: Any, matrix: NDArray[Any], variable: Any) -> Any:
    """Return ``tr(matrix variable)`` of two Hermitian matrices, a real expression."""
    return module.real(module.sum(module.multiply(matrix.conj(), variable)))


def outer(vector: NDArray[Any]) -> NDArray[Any]:
    """Return ``v v^H``."""
    return np.outer(vector, vector.conj())

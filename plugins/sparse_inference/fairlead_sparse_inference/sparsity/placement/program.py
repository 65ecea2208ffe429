"""The placement program: which batches of neurons go to fast memory (PowerInfer, section 6, equations 2 to 8)."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Neurons are placed in batches, the most frequent first, so that the program stays small (PowerInfer, section 6.3.3).
BATCH = 64


@dataclass(frozen=True, slots=True)
class Problem:
    """Firing frequencies [neurons] by layer, bytes of a neuron, capacity in bytes, neurons that a layer needs at least.

    A layer has none or at least `fewest` neurons in fast memory: fewer would save less time than handing over costs.
    """

    frequencies: Sequence[NDArray[np.float64]]
    neuron_bytes: int
    capacity: int
    fewest: int = 0
    batch: int = BATCH


@dataclass(frozen=True, slots=True)
class Placement:
    """Which neurons are in fast memory, bool [neurons] by layer; the frequencies' sum; what solved it."""

    pinned: list[NDArray[np.bool_]]
    value: float
    solver: str


def fewest_neurons(neuron_bytes: int, fast_bytes_per_s: float, slow_bytes_per_s: float, sync_s: float) -> int:
    """Return C with C T_fast + T_sync <= C T_slow, T = bytes / bandwidth: what a layer must place to gain at all."""
    gain_s = neuron_bytes / slow_bytes_per_s - neuron_bytes / fast_bytes_per_s
    if sync_s <= 0:
        return 0
    return math.ceil(sync_s / gain_s) if gain_s > 0 else 1 << 31


def solve(problem: Problem) -> Placement:
    """Solve with HiGHS (highspy, else SciPy); without either by a greedy rule, which `solver` says."""
    batches = _batches(problem)
    for name, run in (("HiGHS", _highs), ("HiGHS (SciPy)", _scipy)):
        try:
            chosen = run(problem, batches)
        except ModuleNotFoundError:
            continue
        return _placement(problem, batches, chosen, name)
    return _placement(problem, batches, _greedy(problem, batches), "greedy")


@dataclass(frozen=True, slots=True)
class _Batch:
    layer: int
    neurons: NDArray[np.int64]
    value: float


def _batches(problem: Problem) -> list[_Batch]:
    found: list[_Batch] = []
    for layer, frequencies in enumerate(problem.frequencies):
        ordered = np.argsort(-frequencies, kind="stable")
        for start in range(0, len(ordered), problem.batch):
            part = ordered[start : start + problem.batch]
            found.append(_Batch(layer, part, float(frequencies[part].sum())))
    return found


def _rows(
    problem: Problem, batches: Sequence[_Batch]
) -> tuple[list[list[tuple[int, float]]], list[float], list[float]]:
    """Return sparse rows with lower and upper bounds. Columns: one a batch, then one a layer that is used."""
    count, layers = len(batches), len(problem.frequencies)
    rows = [[(i, float(len(batch.neurons) * problem.neuron_bytes)) for i, batch in enumerate(batches)]]
    lower, upper = [0.0], [float(problem.capacity)]
    for layer in range(layers if problem.fewest else 0):
        mine = [(i, float(len(batch.neurons))) for i, batch in enumerate(batches) if batch.layer == layer]
        total = sum(size for _, size in mine)
        rows += [[*mine, (count + layer, -float(problem.fewest))], [*mine, (count + layer, -total)]]
        lower += [0.0, -math.inf]
        upper += [math.inf, 0.0]
    return rows, lower, upper


def _highs(problem: Problem, batches: Sequence[_Batch]) -> NDArray[np.bool_]:
    import highspy

    rows, lower, upper = _rows(problem, batches)
    columns = len(batches) + len(problem.frequencies)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = columns, len(rows)
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_cost_ = np.asarray([*(b.value for b in batches), *[0.0] * len(problem.frequencies)])
    program.col_lower_, program.col_upper_ = np.zeros(columns), np.ones(columns)
    program.row_lower_, program.row_upper_ = np.maximum(lower, -highspy.kHighsInf), np.minimum(upper, highspy.kHighsInf)
    program.integrality_ = [highspy.HighsVarType.kInteger] * columns
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.cumsum([0, *(len(row) for row in rows)])
    program.a_matrix_.index_ = np.asarray([column for row in rows for column, _ in row])
    program.a_matrix_.value_ = np.asarray([value for row in rows for _, value in row])
    with _silent():
        solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(program)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ValueError(
            f"the placement program has no solution: {solver.modelStatusToString(solver.getModelStatus())}"
        )
    return np.asarray(solver.getSolution().col_value)[: len(batches)] > 0.5


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the library's banner, which its C++ prints, out of what this program writes to standard output."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _scipy(problem: Problem, batches: Sequence[_Batch]) -> NDArray[np.bool_]:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    rows, lower, upper = _rows(problem, batches)
    columns = len(batches) + len(problem.frequencies)
    places = [(row, column) for row, entries in enumerate(rows) for column, _ in entries]
    values = [value for entries in rows for _, value in entries]
    matrix = csr_array((values, tuple(np.asarray(places).T)), shape=(len(rows), columns))
    cost = -np.asarray([*(b.value for b in batches), *[0.0] * len(problem.frequencies)])
    found = milp(
        cost, integrality=np.ones(columns), bounds=Bounds(0, 1), constraints=LinearConstraint(matrix, lower, upper)
    )
    if found.x is None:
        raise ValueError(f"the placement program has no solution: {found.message}")
    return found.x[: len(batches)] > 0.5


def _greedy(problem: Problem, batches: Sequence[_Batch]) -> NDArray[np.bool_]:
    """Take the most valuable batches, and drop the layer that stays farthest below the minimum, until none does."""
    dropped: set[int] = set()
    while True:
        chosen = _filled(problem, batches, dropped)
        sizes = np.zeros(len(problem.frequencies), np.int64)
        for index in np.flatnonzero(chosen):
            sizes[batches[index].layer] += len(batches[index].neurons)
        short = [layer for layer in np.flatnonzero(sizes) if sizes[layer] < problem.fewest]
        if not short:
            return chosen
        dropped.add(int(min(short, key=lambda layer: sizes[layer])))


def _filled(problem: Problem, batches: Sequence[_Batch], dropped: set[int]) -> NDArray[np.bool_]:
    chosen, room = np.zeros(len(batches), np.bool_), problem.capacity
    for index in sorted(range(len(batches)), key=lambda i: -batches[i].value / len(batches[i].neurons)):
        size = len(batches[index].neurons) * problem.neuron_bytes
        if size <= room and batches[index].layer not in dropped:
            chosen[index], room = True, room - size
    return chosen


def _placement(problem: Problem, batches: Sequence[_Batch], chosen: NDArray[np.bool_], solver: str) -> Placement:
    pinned = [np.zeros(len(frequencies), np.bool_) for frequencies in problem.frequencies]
    for index in np.flatnonzero(chosen):
        pinned[batches[index].layer][batches[index].neurons] = True
    return Placement(pinned, sum(batches[i].value for i in np.flatnonzero(chosen)), solver)

"""How near codes are to what so many bits can tell: ``python -m benchmarks.vectors_codes --embeddings FILE``.

The codes of a cluster index as it is built (their errors, and how many exact vectors a search by them alone would have
to read for a recall, were all lists scanned), beside an ideal code of as many bits, and beside one of all bytes that
the index may have in memory. The peer of these rows is no program, but Shannon's limit for a Gaussian source of the
same covariance within the same lists (`benchmarks.vectors.rate_limit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, row
from benchmarks.vectors.data import VectorData
from benchmarks.vectors.options import data_sets, finish, part_of, vector_parser
from benchmarks.vectors.rate_limit import F32, centred, errors_of, ideal_codes, reads_for
from fairlead_kernels.vector_lists import Lists, ListTraining, train_lists
from fairlead_kernels.vectors import Space
from fairlead_tiered_retrieval.lists.training import LIST_SIZE, SAMPLE

K, QUERIES = 10, 400
RECALLS = (0.95, 0.99)
#: Of the vectors in float32: all that an index may have in memory.
MOST = 0.08
PROMISE = "80 % of the limit that the device's IOPS allow at our reads per query (<= 15)"


@dataclass(frozen=True, slots=True)
class Coded:
    """Vectors with their codes' numbers, all in principal coordinates.

    Attributes:
        training: of the codes.
        lists: int64 [n]: of each vector.
        inside: [n, d]: vectors without their list's mean, in coordinates that do not depend on one another there.
        middles: [lists, d]: those means, in the same coordinates.
        queries: [m, d], in the same coordinates.
    """

    training: ListTraining
    lists: NDArray[np.int64]
    inside: F32
    middles: F32
    queries: F32


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    options = parse("vectors_codes", __doc__, repeats=1, quick=1, arguments=arguments, more=vector_parser())
    rows: list[Row] = []
    conditions: dict[str, Any] = {"k": K, "queries": QUERIES, "simulated": "the ideal codes, by a Gaussian channel"}
    sets = [data for data in data_sets(options) if data.base.dtype == np.float32]
    for data in sets:
        found, facts = of_data(options, data)
        rows += found
        conditions[data.name] = facts
    finish(options, conditions, rows, sets)
    return 0


def of_data(options: Options, data: VectorData) -> tuple[list[Row], dict[str, Any]]:
    """Rows of one data set."""
    base = np.ascontiguousarray(data.base)
    queries = np.load(data.queries_path(part_of(options)))[:QUERIES]
    truth = data.truth(part_of(options))[:QUERIES, :K]
    coded = coded_of(base, queries, options.seed)
    random = np.random.default_rng(options.seed)
    exact = distances(queries, base)
    own = by_codes(coded, base, queries)
    size = coded.training.code_bytes
    limit, most = (ideal(coded, 8.0 * bytes_each, random) for bytes_each in (size, MOST * 4 * base.shape[1]))
    case = f"{data.name}, codes of {size} bytes"
    rows = [
        row(case, "standard error of a distance", "of 1", [deviation(own, exact)], [deviation(limit, exact)],
            note="peer: an ideal code of as many bits"),
    ]  # fmt: skip
    whole = f"peer: an ideal code of {MOST:g}x of the raw size, all of what may be in memory"
    for recall in RECALLS:
        reads = [reads_for(ranks(estimates, truth), recall) for estimates in (own, limit, most)]
        name = f"reads for recall {recall}, all lists scanned"
        for peer, note in zip(reads[1:], ("peer: an ideal code of as many bits", whole), strict=True):
            promise = PROMISE if recall == max(RECALLS) else None
            rows.append(row(case, name, "reads", [reads[0] or 0], [peer or 0], promise=promise, note=note))
    return rows, {"about": data.about, "queries": part_of(options), "lists": len(coded.middles)}


def coded_of(base: F32, queries: F32, seed: int) -> Coded:
    """Train codes as an index does, and turn everything to coordinates that do not depend on one another."""
    random = np.random.default_rng(seed)
    sample = base[np.sort(random.permutation(len(base))[:SAMPLE])]
    count = max(1, min(len(base) // LIST_SIZE, len(sample) // 8))
    training = train_lists(Space("float32", "l2", base.shape[1]), sample, count, seed=seed)
    lists = _nearest(training.leading(base), training.centroids)
    inside, middles = centred(base, lists, count)
    _, directions = np.linalg.eigh(np.cov(inside[:: max(1, len(inside) // 50_000)].T))
    turn = directions.astype(np.float32)
    return Coded(training, lists, inside @ turn, middles @ turn, queries @ turn)


def ideal(coded: Coded, bits: float, random: np.random.Generator) -> F32:
    """Return distances [queries, n] by ideal codes of so many bits."""
    variances = np.maximum(coded.inside.var(axis=0, dtype=np.float64), 1e-12)
    errors = errors_of(variances, bits)
    given = ideal_codes(coded.inside, variances, errors, random) + coded.middles[coded.lists]
    return distances(coded.queries, given) + np.float32(errors.sum())


def by_codes(coded: Coded, base: F32, queries: F32) -> F32:
    """Return distances [queries, n] by the index's own codes."""
    index, found = Lists(coded.training), np.empty((len(queries), len(base)), np.float32)
    for number, centroid in enumerate(np.ascontiguousarray(coded.training.centroids)):
        members = np.flatnonzero(coded.lists == number)
        if len(members):
            found[:, members] = index.estimates(queries, np.ascontiguousarray(base[members]), centroid)
    return found


def distances(queries: F32, rows: F32) -> F32:
    """Return squared distances [queries, n]."""
    ones, others = np.einsum("ij,ij->i", queries, queries), np.einsum("ij,ij->i", rows, rows)
    return ones[:, None] + others - 2 * queries @ rows.T


def deviation(estimates: F32, exact: F32) -> float:
    """Return the standard deviation of what estimates are off by."""
    return float(np.std(estimates - exact, dtype=np.float64))


def ranks(estimates: F32, truth: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the places [queries, k] of the true nearest in the order of the estimates."""
    own = np.take_along_axis(estimates, truth.astype(np.int64), axis=1)
    return np.stack([(row[None] < mine[:, None]).sum(axis=1) for row, mine in zip(estimates, own, strict=True)])


def _nearest(leading: F32, centroids: F32) -> NDArray[np.int64]:
    norms = np.einsum("ij,ij->i", centroids, centroids)
    parts = np.array_split(leading, len(leading) // 8192 + 1)
    return np.concatenate([np.argmin(norms - 2 * part @ centroids.T, axis=1) for part in parts])


if __name__ == "__main__":
    raise SystemExit(main())

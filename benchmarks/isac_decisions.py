"""A slot's decisions: how long one takes, how far it is from the optimum, and CVXPY with Clarabel on the same ones.

One call from Python is one decision; warm, pinned to one core, one BLAS thread.
Run: ``python -m benchmarks.isac_decisions``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.isac.decisions import Case, Times, cases, measured
from benchmarks.options import Options, parse
from benchmarks.results_file import Row, row

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
P50_MS, P99_MS, GAP, FASTER = 0.2, 0.5, 1e-4, 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case in turn; in a process of its own where threads are not yet limited to one."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument(
        "--channels", type=int, default=None, help="of each case over all repeats; default: 10000, or 500"
    )
    more.add_argument("--programs", type=int, default=None, help="convex programs a repeat and case; default: 4, or 1")
    options = parse("isac_decisions", __doc__, repeats=5, quick=1, arguments=arguments, more=more)
    if any(os.environ.get(name) != "1" for name in THREADS):
        given = list(sys.argv[1:] if arguments is None else arguments)
        command = [sys.executable, "-m", "benchmarks.isac_decisions", *given]
        return subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}, check=False).returncode
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    channels = options.more.channels or (500 if options.quick else 10_000)
    programs = options.more.programs or (1 if options.quick else 4)
    rows: list[Row] = []
    for case in cases():
        rows += _rows(case, _repeats(case, options, channels, programs))
    conditions = {"channels": channels, "programs": programs, "core": core, "blas_threads": 1}
    options.finish(conditions, rows)
    return 0


def _repeats(case: Case, options: Options, channels: int, programs: int) -> list[Times]:
    rng = np.random.default_rng(options.seed)
    return [measured(case, rng, channels // options.repeats, programs) for _ in range(options.repeats)]


def _rows(case: Case, repeats: list[Times]) -> list[Row]:
    middle = [1e3 * float(np.percentile(each.seconds, 50)) for each in repeats]
    high = [1e3 * float(np.percentile(each.seconds, 99)) for each in repeats]
    asked = sum(len(each.seconds) for each in repeats)
    note = f"{asked} random channels, {len(repeats)} repeats"
    promised = case.promised
    rows = [
        row(case.name, "decision p50", "ms", middle, limit=P50_MS if promised else None, note=note),
        row(case.name, "decision p99", "ms", high, limit=P99_MS if promised else None, note=note),
        *(_against(case, name, middle, repeats) for name in case.programs),
        _gaps(case, repeats),
        _answered(case, repeats, asked),
    ]
    differences = [each for repeat in repeats for each in repeat.differences]
    if differences:
        far, seen = max(np.abs(differences)), f"of {len(differences)} programs; Clarabel's own tolerance is in it"
        rows.append(row(case.name, "largest difference from Clarabel's optimum", "share", [float(far)], note=seen))
    return rows


def _against(case: Case, name: str, middle: list[float], repeats: list[Times]) -> Row:
    """Our median beside the program's, of CVXPY and Clarabel together; Clarabel alone in the note."""
    whole = [1e3 * statistics.median(each.whole_s for each in repeat.programs[name]) for repeat in repeats]
    alone = [1e3 * each.solver_s for repeat in repeats for each in repeat.programs[name]]
    note = f"Clarabel alone: median {statistics.median(alone):.4g} ms of {len(alone)} programs"
    target = FASTER if case.promised and "span" not in name else None
    return row(case.name, f"time against the {name}", "ms", middle, whole, target=target, note=note)


def _gaps(case: Case, repeats: list[Times]) -> Row:
    worst = [max(each.gaps) for each in repeats if each.gaps]
    limit = GAP if case.promised else None
    return row(
        case.name, "largest certified gap", "share", [max(worst)], limit=limit, note="from the dual of each decision"
    )


def _answered(case: Case, repeats: list[Times], asked: int) -> Row:
    """Every question has an answer: the optimum, or a documented fallback."""
    solved = sum(len(each.gaps) for each in repeats)
    kinds: dict[str, int] = {}
    for each in repeats:
        for kind, count in each.fallbacks.items():
            kinds[kind] = kinds.get(kind, 0) + count
    fallbacks = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no fallback"
    share = 100 * (solved + sum(kinds.values())) / asked
    note = f"{solved} optima, {fallbacks}"
    return row(case.name, "converged or fell back", "%", [share], better="more", limit=100, note=note)


if __name__ == "__main__":
    sys.exit(main())

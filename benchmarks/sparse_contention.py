"""What engines keep of their speed under a process that loads all cores: ``python -m benchmarks.sparse_contention``.

The load is one process with a thread on every core that hashes (without the interpreter's lock). Each engine is timed
quiet and under load, in turn.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.decoding_process import Answer, Decodes
from benchmarks.options import parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.sparse_engines import CONTENTION, Bench, closing, more_options, speeds

THREADS = 2
TOKENS, QUICK_TOKENS = 64, 16
#: Engines with spinning barriers take minutes for what takes a second on a quiet machine.
LOADED_TOKENS = 12
_LOAD = """
import hashlib, os, threading
block = bytes(1 << 20)
def burn():
    while True:
        hashlib.sha256(block).digest()
for _ in os.sched_getaffinity(0):
    threading.Thread(target=burn, daemon=True).start()
print("busy", flush=True)
threading.Event().wait()
"""


class Load:
    """A process with a busy thread for every core. A context manager."""

    def __enter__(self) -> Load:
        self._process = subprocess.Popen([sys.executable, "-c", _LOAD], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def shares(engine: Decodes, bench: Bench) -> tuple[list[float], list[float]]:
    """An engine's tokens per second quiet and under load, repeat by repeat."""
    quiet: list[Answer] = []
    loaded: list[Answer] = []
    engine.greedy(bench.prompt(0), QUICK_TOKENS)
    for repeat in range(1, bench.options.repeats + 1):
        quiet.append(engine.greedy(bench.prompt(repeat), QUICK_TOKENS if bench.options.quick else TOKENS))
        with Load():
            loaded.append(engine.greedy(bench.prompt(repeat), LOADED_TOKENS))
    return speeds(quiet), speeds(loaded)


def rows(bench: Bench) -> Iterator[Row]:
    """The share that ours keeps, and the peers'."""
    case = f"{bench.case}, {THREADS} threads, a process that loads both cores"
    engines = {
        "ours, predictor": bench.ours("predictor", THREADS),
        "ours, exact": bench.ours("exact", THREADS),
        "llama.cpp": bench.llama(THREADS),
        "PowerInfer": bench.powerinfer(THREADS),
    }
    with closing(engines) as there:
        for name in engines:
            metric = f"{name}: share of the quiet speed"
            if name not in there:
                yield not_measured(case, metric, "of it", CONTENTION, "is not installed, or its program was not given")
                continue
            quiet, loaded = shares(there[name], bench)
            kept = [under / free for under, free in zip(loaded, quiet, strict=True)]
            note = (
                f"tokens/s, quiet {min(quiet):.1f} to {max(quiet):.1f}, loaded {min(loaded):.2f} to {max(loaded):.2f}"
            )
            promise = CONTENTION if name.startswith("ours") else None
            limit = 0.4 if promise else None
            yield row(case, metric, "of it", kept, better="more", limit=limit, promise=promise, note=note)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/sparse_contention.json."""
    options = parse("sparse_contention", __doc__, repeats=5, quick=1, arguments=arguments, more=more_options())
    bench = Bench(options)
    options.finish({**bench.conditions(), "promise": CONTENTION}, list(rows(bench)))


if __name__ == "__main__":
    main()

"""How much memory the sparse engine can do without at its full speed. Run: ``python -m benchmarks.sparse_memory``.

The engine in memory says what it holds after some prompts; with a budget of 60 % of that it reads the rest from the
file: in predictor mode, and in exact mode where all gates leave room for some neurons. The faster one counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.decoding_process import DecodingProcess, EngineEnded
from benchmarks.options import parse
from benchmarks.results_file import Row, row
from benchmarks.sparse_engines import MEMORY, WARM_PROMPTS, Bench, closing, in_turn, more_options, speeds

SHARE = 0.6
TOKENS, QUICK_TOKENS = 128, 16
THREADS = (1, 2)


def rows(bench: Bench, threads: int) -> Iterator[Row]:
    """Speed and memory with all neurons in memory, and with a budget of 60 % of it."""
    case = f"{bench.case}, {threads} thread{'s' if threads > 1 else ''}, beside predictor mode in memory"
    whole = bench.ours("predictor", threads)
    count = QUICK_TOKENS if bench.options.quick else TOKENS
    needed = max(int(whole.greedy(bench.prompt(repeat), count).told["memory_bytes"]) for repeat in WARM_PROMPTS)
    # A small model's process is mostly interpreter, of which nothing can be left out.
    budget = int(needed * (1 if bench.options.quick else SHARE)) + ((64 << 20) if bench.options.quick else 0)
    parts = {mode: _within(bench, mode, threads, budget) for mode in ("predictor", "exact")}
    with closing({"whole": whole, **parts}) as there:
        for repeat in WARM_PROMPTS:
            for mode in parts.keys() & there.keys():
                there[mode].greedy(bench.prompt(repeat), count)
        answers = in_turn(there, bench.options.repeats, bench.prompt, count)
    mode = max(parts.keys() & there.keys(), key=lambda name: statistics.median(speeds(answers[name])))
    held = {name: float(max(item.told["memory_bytes"] for item in answers[name])) for name in answers}
    misses = statistics.median(item.told["work"]["misses"] for item in answers[mode])
    part, all_of_it = speeds(answers[mode]), speeds(answers["whole"])
    note = f"in {mode} mode, the faster one; {misses:.0f} neurons of a token read from the file"
    yield row(case, "memory with a budget, share of the memory with all", "of it", [held[mode] / held["whole"]],
              limit=SHARE, promise=MEMORY)  # fmt: skip
    yield row(case, "decode with the budget, against all in memory", "tokens/s", part, all_of_it, better="more",
              target=0.95, promise=MEMORY, note=note)  # fmt: skip


def _within(bench: Bench, mode: str, threads: int, budget: int) -> DecodingProcess | None:
    try:
        return bench.ours(mode, threads, budget=budget)
    except EngineEnded:
        print(f"{mode} mode: what has to stay in memory does not fit into {budget / 1e6:.0f} MB")
        return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/sparse_memory.json."""
    options = parse("sparse_memory", __doc__, repeats=5, quick=1, arguments=arguments, more=more_options())
    bench = Bench(options)
    measured = [item for threads in THREADS for item in rows(bench, threads)]
    options.finish({**bench.conditions(), "promise": MEMORY}, measured)


if __name__ == "__main__":
    main()

"""Models larger than the memory that a control group grants. Run as root: ``python -m benchmarks.sparse_offload``.

llama.cpp maps the same weights with repacking off, as its users do who run what does not fit; the kernel takes pages
away from it. Ours reads neurons that are not cached, past the page cache: in predictor mode those that the predictors
choose, in exact mode, which keeps all gates in memory, those that are active. Every process starts with none of its
files cached, so that the group is charged for all that it reads.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.decoding_process import Answer, EngineEnded, forget_cached
from benchmarks.machine_limits import BLOCK, reads_per_second
from benchmarks.memory_group import MemoryGroup
from benchmarks.options import parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.sparse_engines import OFFLOAD, WARM_PROMPTS, Bench, more_options, speeds

TIMES = (1.25, 1.6, 2.0)
THREADS = 2
CHECKED = ("--checksum",)
TOKENS, QUICK_TOKENS, PEER_TOKENS = 128, 16, 16
#: As many reads as the engine has under way.
DEPTH = 128
#: A small model's processes are mostly interpreter: a quick run grants this much more than the model.
_INTERPRETER_BYTES = 110 << 20


class Limited:
    """One mode under one limit, its repeats, and how it went."""

    def __init__(self, bench: Bench, limit: int, mode: str, count: int) -> None:
        self.mode, self.answers = mode, list[Answer]()
        self.failure, self.killed, self.highest = "", 0, 0
        forget_cached(bench.files.folder)
        with MemoryGroup(mode.replace(".", ""), limit) as group:
            try:
                self._run(bench, group, limit, mode, count)
            except EngineEnded as error:
                self.failure = str(error)
            self.killed, self.highest = group.kills(), group.highest_bytes()

    def _run(self, bench: Bench, group: MemoryGroup, limit: int, mode: str, count: int) -> None:
        if mode == "llama.cpp":
            engine = bench.llama(THREADS, repack=False, group=group)
        else:
            engine = bench.ours(mode, THREADS, budget=limit, group=group, more=CHECKED)
        if engine is None:
            raise EngineEnded("llama-cpp-python is not installed")
        try:
            for repeat in WARM_PROMPTS:
                engine.greedy(bench.prompt(repeat), count)
            for repeat in range(bench.options.repeats + 1):
                answer = engine.greedy(bench.prompt(repeat), count)
                if repeat:
                    self.answers.append(answer)
        finally:
            engine.close()


def limit_bytes(bench: Bench, times: float) -> int:
    """The group's limit: the model's size as llama.cpp has it, divided."""
    spare = _INTERPRETER_BYTES if bench.options.quick else 0
    return int(bench.files.dense.stat().st_size / times) + spare


def memory_rows(bench: Bench, times: float, inside: dict[str, list[Answer]], reads: float) -> Iterator[Row]:
    """One limit: ours against llama.cpp, against what the disk can do, and whether everything went well."""
    limit, quick = limit_bytes(bench, times), bench.options.quick
    case = f"{bench.case}, {THREADS} threads, model {times:g}x the limit of {limit / 1e6:.0f} MB"
    count = QUICK_TOKENS if quick else TOKENS
    ours, exact = (Limited(bench, limit, mode, count) for mode in ("predictor", "exact"))
    if times == TIMES[0]:
        faster = max((ours, exact), key=lambda one: statistics.median(speeds(one.answers) or [0.0]))
        yield _peer(bench, case, faster, Limited(bench, limit, "llama.cpp", PEER_TOKENS), limit)
    else:
        yield _derived(case, ours, inside["predictor"], reads)
    yield row(case, "ours, killed by the limit", "times", [float(ours.killed)], limit=0, note=ours.failure or None)
    yield from _same(case, "predictor", ours, inside)
    if exact.failure and not exact.killed:
        print(f"{case}: exact mode keeps all gates in memory, which do not fit: {exact.failure[-200:]}")
        return
    yield row(case, "exact mode, killed by the limit", "times", [float(exact.killed)], limit=0)
    yield from _same(case, "exact", exact, inside)


def _peer(bench: Bench, case: str, ours: Limited, peer: Limited, limit: int) -> Row:
    metric, clause = "decode, against llama.cpp (repack off, mmap)", "model 1.25x the cgroup limit: >= 25x llama.cpp"
    if not ours.answers or not peer.answers:
        return not_measured(case, metric, "tokens/s", clause, ours.failure or peer.failure)
    memory = f"most memory counted: {ours.highest / 1e6:.0f} MB, peer {peer.highest / 1e6:.0f} MB of {limit / 1e6:.0f}"
    note = f"the faster of our modes, {ours.mode}; {memory}"
    mine, theirs = speeds(ours.answers), speeds(peer.answers)
    return row(case, metric, "tokens/s", mine, theirs, better="more", target=25.0, promise=clause, note=note)


def _derived(case: str, ours: Limited, inside: Sequence[Answer], reads: float) -> Row:
    metric = "decode, share of the limit derived from misses and the disk's reads a second"
    clause = "within 1.5x of the limit derived from the measured misses and the disk's IOPS"
    if not ours.answers:
        return not_measured(case, metric, "of it", clause, ours.failure)
    compute = statistics.median(1 / speed for speed in speeds(inside))
    limits = [1 / max(compute, answer.told["work"]["misses"] / reads) for answer in ours.answers]
    share = [speed / limit for speed, limit in zip(speeds(ours.answers), limits, strict=True)]
    misses = statistics.median(answer.told["work"]["misses"] for answer in ours.answers)
    note = (
        f"{statistics.median(speeds(ours.answers)):.1f} tokens/s, {misses:.0f} misses a token, {reads:.0f} reads/s, "
        f"limit {statistics.median(limits):.1f} tokens/s"
    )
    return row(case, metric, "of it", share, better="more", limit=1 / 1.5, promise=clause, note=note)


def _same(case: str, mode: str, ours: Limited, inside: dict[str, list[Answer]]) -> Iterator[Row]:
    metric = f"{mode} mode: all logits have the bits of the in-memory run"
    clause = "lossless mode byte-identical to in-memory output"
    if not ours.answers:
        yield not_measured(case, metric, "bool", clause, ours.failure)
        return
    pairs = zip(ours.answers, inside[mode], strict=True)
    same = all(one.told["checksum"] == other.told["checksum"] for one, other in pairs)
    yield row(case, metric, "bool", [float(same)], better="more", limit=1, promise=clause)


def in_memory(bench: Bench) -> dict[str, list[Answer]]:
    """The same prompts without a limit."""
    answers: dict[str, list[Answer]] = {}
    for mode in ("predictor", "exact"):
        engine = bench.ours(mode, THREADS, more=CHECKED)
        count = QUICK_TOKENS if bench.options.quick else TOKENS
        answers[mode] = [engine.greedy(bench.prompt(repeat), count) for repeat in range(bench.options.repeats + 1)][1:]
        engine.close()
    return answers


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/sparse_offload.json."""
    options = parse("sparse_offload", __doc__, repeats=5, quick=1, arguments=arguments, more=more_options())
    bench = Bench(options)
    try:
        MemoryGroup("probe", 1 << 28).__exit__()
    except OSError as error:
        raise SystemExit(f"no control group can be made here, run as root: {error}") from None
    inside = in_memory(bench)
    forget_cached(bench.files.folder)
    reads = reads_per_second(bench.files.bundle / "neurons.bin", BLOCK, DEPTH, 1 if options.quick else 3)
    print(f"random 4 KiB reads, {DEPTH} at a time: {reads:.0f} a second", flush=True)
    measured = [item for times in TIMES for item in memory_rows(bench, times, inside, reads)]
    conditions = {**bench.conditions(), "promise": OFFLOAD, "disk_reads_per_s": reads, "threads": THREADS}
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

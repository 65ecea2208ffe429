"""What a cache of neurons can save at best, and what that leaves of two promises. Run: ``python -m
benchmarks.sparse_cache_limits``.

The walk is that of ``sparse_offload`` and ``sparse_memory``: which neurons each token names or activates follows from
the synthetic model's weights. The engine's own policy, others that know the past, and Belady's rule, which knows the
future, go through it with as many slots as the engine has under each limit. The disk's reads a second, measured here,
turn what they miss into the tokens a second that the disk allows where it reads at all times and nothing else takes
time.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_policies import Batches, Counts, belady, fixed, least_frequent, least_recent, merged, uses_of
from benchmarks.decoding_process import EngineEnded
from benchmarks.machine_limits import BLOCK, reads_per_second
from benchmarks.options import parse
from benchmarks.results_file import Row, row
from benchmarks.sparse_engines import PROMPT_TOKENS, STRIDE, WARM_PROMPTS, Bench, more_options, speeds
from benchmarks.sparse_memory import SHARE
from benchmarks.sparse_offload import TIMES, TOKENS, limit_bytes
from benchmarks.synthetic.activity import LayerActivity, layer_activity
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_cache import ReferenceCache
from fairlead_kernels.streamed import StreamOptions

THREADS = 2
QUICK_TOKENS = 16
#: Tokens after which a use counts half, the best of those tried for LFU with decay.
HALF_LIFE = 64
#: As the engine reads: through gaps of three blocks.
REACH = 4
#: What is in flight where a disk shows what it can do, about what our reads take, and what a large one takes.
DEPTH, SOME, LARGE = 128, 3 * BLOCK, 64 * 1024
_MODES = {"predictor": "named", "exact": "active"}


@dataclass(frozen=True, slots=True)
class Walk:
    """What tokens need: ``batches`` of all layers, token by token; the first ``warm`` tokens are not counted."""

    batches: Batches
    layers: int
    neurons: int
    warm: int

    @property
    def items(self) -> int:
        """Neurons of all layers."""
        return self.layers * self.neurons

    @property
    def measured(self) -> Batches:
        """Without the first tokens."""
        return self.batches[self.warm * self.layers :]

    def a_token(self, counts: Counts) -> float:
        """The mean over the measured tokens of something counted for each batch."""
        return float(counts[self.warm * self.layers :].sum()) / (len(self.measured) // self.layers)


def positions(bench: Bench, repeats: Sequence[int], count: int) -> list[int]:
    """The states that decoding reads after these prompts."""
    starts = [1 + repeat * STRIDE + PROMPT_TOKENS for repeat in repeats]
    return [(start + index) % (bench.shape.states - 1) for start in starts for index in range(count - 1)]


def walk(bench: Bench, activity: Sequence[LayerActivity], mode: str) -> Walk:
    """The benchmarks' warm prompts, then as many as repeats were asked for."""
    count, shape = (QUICK_TOKENS if bench.options.quick else TOKENS), bench.shape
    warm = positions(bench, WARM_PROMPTS, count)
    states = warm + positions(bench, range(1, bench.options.repeats + 1), count)
    bits = [np.unpackbits(getattr(layer, _MODES[mode])[states], axis=1) for layer in activity]
    batches = [
        (np.flatnonzero(bits[layer][token]) + layer * shape.neurons).astype(np.int32)
        for token in range(len(states))
        for layer in range(shape.layers)
    ]
    return Walk(batches, shape.layers, shape.neurons, len(warm))


def engine_policy(taken: Walk, slots: int, hot: int, group: int = 64) -> tuple[Counts, Counts, Counts]:
    """The engine's own cache, filled first as a prompt fills it: what each batch misses, its reads and their blocks."""
    module = extension()
    kind = ReferenceCache if module is None else module.NeuronCache
    hot_slots = int(slots * StreamOptions().hot_share)
    cache = kind(taken.layers, taken.neurons, group, [], [hot // group] * taken.layers, slots, hot_slots)
    for item in (layer * taken.neurons + place for place in range(taken.neurons) for layer in range(taken.layers)):
        if cache.used == slots:
            break
        if cache.slot_of(item) < 0:
            cache.admit(item)
            cache.arrived(item)
    cache.release()
    misses, reads, blocks = np.zeros((3, len(taken.batches)), np.int64)
    for time, batch in enumerate(taken.batches):
        missed = [item for item in batch.tolist() if cache.lookup(item) < 0]
        for item in missed:
            cache.admit(item)
            cache.arrived(item)
        cache.release()
        misses[time] = len(missed)
        reads[time], blocks[time] = merged(missed, REACH, StreamOptions().run)
    return misses, reads, blocks


def miss_rows(case: str, taken: Walk, slots: int, hot: int, prior: NDArray[np.int64]) -> Iterator[Row]:
    """Misses of every policy beside ours; the first row's are Belady's."""
    misses, reads, blocks = (taken.a_token(counts) for counts in engine_policy(taken, slots, hot))
    needed = taken.a_token(np.array([len(batch) for batch in taken.batches], np.int64))
    used = uses_of(taken.measured, taken.items)
    others = {
        "Belady's rule, which knows the future": belady,
        "the best fixed set, which knows the future": partial(fixed, uses=used),
        "the fixed set of another part of the text": partial(fixed, uses=prior),
        "LFU with decay": partial(least_frequent, half_life=HALF_LIFE * taken.layers),
        "LRU": least_recent,
    }
    for name, policy in others.items():
        theirs = taken.a_token(policy(taken.batches, taken.items, slots))
        note = f"hits {1 - misses / needed:.1%}, theirs {1 - theirs / needed:.1%} of {needed:.0f} neurons a token"
        yield row(case, f"missed a token, beside {name}", "neurons", [misses], [theirs], note=note)
    note = f"{blocks / reads:.2f} blocks of 4 KiB each"
    yield row(case, "reads a token, neighbours in the file together", "reads", [reads], [misses], note=note)


def bound_rows(case: str, missed: Sequence[Row], disk: Disk, inside: float) -> Iterator[Row]:
    """The tokens a second that the disk allows with what was missed, beside the speed with everything in memory."""
    ours, least, reads = missed[0].ours, missed[0].peer, missed[-1].ours
    assert ours is not None and least is not None and reads is not None
    bounds = {
        "our misses, a read each": disk.small / ours,
        "our misses, in the reads that bring them": disk.some / reads,
        "Belady's misses, a read each": disk.small / least,
        "our misses, all side by side": disk.large * LARGE / BLOCK / ours,
        "Belady's misses, all side by side": disk.large * LARGE / BLOCK / least,
    }
    for name, speed in bounds.items():
        metric = f"what the disk allows for {name}, beside all in memory"
        yield row(case, metric, "tokens/s", [speed], [inside], better="more")


@dataclass(frozen=True, slots=True)
class Disk:
    """Random reads a second: of one block, of ``SOME`` and of ``LARGE`` bytes."""

    small: float
    some: float
    large: float


def sizes(bench: Bench, mode: str, needed: int) -> Iterator[tuple[str, int]]:
    """The limits of both benchmarks, and the slots that the engine has there."""
    limits = {f"model {TIMES[0]:g}x the limit": limit_bytes(bench, TIMES[0])}
    limits[f"{SHARE:.0%} of the memory"] = int(needed * SHARE)
    for name, limit in limits.items():
        try:
            engine = bench.ours(mode, THREADS, budget=limit)
        except EngineEnded:
            print(f"{mode} mode, {name}: what has to stay in memory does not fit")
            continue
        yield name, int(engine.ready["slots"])
        engine.close()


def in_memory(bench: Bench) -> tuple[float, int]:
    """Tokens a second and bytes with everything in memory."""
    engine = bench.ours("predictor", THREADS)
    count = QUICK_TOKENS if bench.options.quick else TOKENS
    answers = [engine.greedy(bench.prompt(repeat), count) for repeat in range(bench.options.repeats + 1)]
    engine.close()
    return statistics.median(speeds(answers[1:])), max(int(answer.told["memory_bytes"]) for answer in answers)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/sparse_cache_limits.json."""
    options = parse("sparse_cache_limits", __doc__, repeats=2, quick=1, arguments=arguments, more=more_options())
    bench = Bench(options)
    inside, needed = in_memory(bench)
    seconds, file = (1 if options.quick else 3), bench.files.bundle / "neurons.bin"
    reads = partial(reads_per_second, file, seconds=seconds)
    disk = Disk(reads(BLOCK, DEPTH), reads(SOME, DEPTH), reads(LARGE, DEPTH // 8))
    print(f"in memory {inside:.1f} tokens/s; reads a second: {disk}", flush=True)
    activity = layer_activity(bench.files.bundle, bench.shape)
    found: list[Row] = []
    for mode, which in _MODES.items():
        taken, hot = walk(bench, activity, mode), bench.shape.neurons // 10
        rest = [np.unpackbits(getattr(layer, which)[-bench.shape.states // 4 :], axis=1) for layer in activity]
        prior = np.concatenate([bits.sum(axis=0, dtype=np.int64) for bits in rest])
        for name, slots in sizes(bench, mode, needed):
            case = f"{bench.case}, {mode} mode, {name}: {slots} of {taken.items} neurons in memory"
            rows = list(miss_rows(case, taken, slots, hot, prior))
            rows += bound_rows(case, rows, disk, inside)
            found += rows
            for item in rows:
                print(f"{case}; {item.metric}: {item.ours:.0f}, {item.peer or 0:.0f}", flush=True)
    conditions = {**bench.conditions(), "reads_per_s": asdict(disk), "threads": THREADS}
    options.finish({**conditions, "in_memory_tokens_per_s": inside}, found)


if __name__ == "__main__":
    main()

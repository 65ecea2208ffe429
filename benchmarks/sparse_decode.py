"""In-memory speed of the sparse engine against llama.cpp and PowerInfer. Run: ``python -m benchmarks.sparse_decode``.

All engines run the same synthetic 0.99B weights in turn and walk greedily through the same part of the text. Ours and
PowerInfer's compute their predictors in every token; llama.cpp computes all neurons. The same follows for the shipped
model at its own sparsity.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks import sparse_shipped
from benchmarks.decoding_process import Answer
from benchmarks.machine_limits import read_bandwidth
from benchmarks.options import parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.sparse_engines import DECODE, Bench, closing, in_turn, more_options, speeds
from fairlead_kernels import packed_row_bytes

THREADS = (1, 2)
TOKENS, QUICK_TOKENS, PREFILL = 128, 32, 128
_NO_LLAMA, _NO_POWERINFER = "llama-cpp-python is not installed", "no program of PowerInfer's was given"


def decode_rows(bench: Bench, threads: int, bandwidth: list[float]) -> Iterator[Row]:
    """Decoding on so many threads: ours in each mode, and the peers.

    The memory's ``bandwidth`` is measured in every repeat and appended: neighbours on a rented machine change it.
    """
    case = f"{bench.case}, {threads} thread{'s' if threads > 1 else ''}"
    engines = {
        "predictor": bench.ours("predictor", threads),
        "llama.cpp": bench.llama(threads),
        "exact": bench.ours("exact", threads),
        "PowerInfer": bench.powerinfer(threads),
        "dense": bench.ours("dense", threads),
    }
    with closing(engines) as there:
        count = QUICK_TOKENS if bench.options.quick else TOKENS
        before = len(bandwidth)
        answers = in_turn(there, bench.options.repeats, bench.prompt, count, lambda: bandwidth.append(_bandwidth()))
        prefills = in_turn(
            {name: there[name] for name in ("dense", "llama.cpp") if name in there},
            bench.options.repeats,
            lambda repeat: bench.prompt(repeat, PREFILL),
            2,
        )
    walked = all(
        bench.follows(bench.prompt(index + 1), answer) for name in there for index, answer in enumerate(answers[name])
    )
    yield row(case, "all engines give the tokens that the model was made to give", "bool", [float(walked)],
              better="more", limit=1)  # fmt: skip
    yield _against(case, "decode, predictor", answers, "predictor", "llama.cpp", 3.0, "decode >= 3.0x llama.cpp")
    yield _against(case, "decode, predictor", answers, "predictor", "PowerInfer", 4.0,
                   "decode >= 4x PowerInfer's sparse mode")  # fmt: skip
    yield _against(case, "decode, exact", answers, "exact", "llama.cpp", None, None)
    yield _against(case, "decode of a stock model, dense", answers, "dense", "llama.cpp", 1.0,
                   "dense decode of a stock model >= 1.0x llama.cpp")  # fmt: skip
    yield _prefill(case, prefills)
    yield from _limit(bench, case, answers, bandwidth[before:])


def _bandwidth() -> float:
    """Bytes a second that the memory gives at most, on any of the numbers of threads."""
    return max(read_bandwidth(threads) for threads in THREADS)


def _against(
    case: str, metric: str, answers: dict[str, list[Answer]], ours: str, peer: str, target: float | None,
    clause: str | None,
) -> Row:  # fmt: skip
    metric = f"{metric}, against {peer}"
    if peer not in answers:
        why = _NO_LLAMA if peer == "llama.cpp" else _NO_POWERINFER
        return not_measured(case, metric, "tokens/s", clause or metric, why)
    mine, theirs = speeds(answers[ours]), speeds(answers[peer])
    return row(case, metric, "tokens/s", mine, theirs, better="more", target=target, promise=clause)


def _prefill(case: str, answers: dict[str, list[Answer]]) -> Row:
    metric, clause = f"prefill-{PREFILL}, against llama.cpp", "prefill-128 >= 0.9x llama.cpp"
    if "llama.cpp" not in answers:
        return not_measured(case, metric, "tokens/s", clause, _NO_LLAMA)
    ours, peer = ([PREFILL / answer.prefill_s for answer in answers[name]] for name in ("dense", "llama.cpp"))
    return row(case, metric, "tokens/s", ours, peer, better="more", target=0.9, promise=clause)


def _limit(bench: Bench, case: str, answers: dict[str, list[Answer]], bandwidth: Sequence[float]) -> Iterator[Row]:
    usual = statistics.median(bandwidth)
    for mode, limit in (("predictor", 0.6), ("exact", None), ("dense", None)):
        size = statistics.median(bytes_of_token(bench, mode, answer) for answer in answers[mode])
        share = [speed * size / most for speed, most in zip(speeds(answers[mode]), bandwidth, strict=True)]
        note = f"limit {usual / size:.1f} tokens/s: {size / 1e6:.1f} MB a token at {usual / 1e9:.1f} GB/s"
        yield row(case, f"share of the bandwidth limit, {mode}", "of it", share, better="more", limit=limit,
                  promise=None if limit is None else ">= 60 % of the bandwidth limit that the benchmark prints",
                  note=note)  # fmt: skip
        print(f"{case}: {mode}: {note}", flush=True)


def bytes_of_token(bench: Bench, mode: str, answer: Answer) -> float:
    """Bytes of weights that a token reads at least, by what the layers counted."""
    shape, work = bench.shape, answer.told["work"]
    wide, narrow = packed_row_bytes(shape.hidden, 4), packed_row_bytes(shape.rank, 4)
    attention = shape.layers * (2 * shape.hidden + 2 * shape.key_size) * wide
    predictor = shape.layers * (shape.rank * wide + shape.neurons * narrow) if mode == "predictor" else 0
    return attention + shape.vocabulary * wide + predictor + (work["computed"] + 2 * work["active"]) * wide


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/sparse_decode.json."""
    options = parse("sparse_decode", __doc__, repeats=7, quick=2, arguments=arguments, more=more_options())
    bench = Bench(options)
    bandwidth: list[float] = []
    measured = [item for threads in THREADS for item in decode_rows(bench, threads, bandwidth)]
    measured += sparse_shipped.rows(bench, options.more.shipped_bundle)
    conditions = {**bench.conditions(), "promise": DECODE, "read_bytes_per_s": bandwidth}
    conditions["llama.cpp"] = "llama-cpp-python, Q4_0 repacked; computes every neuron (SiLU)"
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

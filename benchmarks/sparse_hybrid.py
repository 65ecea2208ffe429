"""Decoding with hot neurons on a GPU, cold ones on the processor. Run: ``python -m benchmarks.sparse_hybrid``.

The synthetic 0.99B model (see ``sparse_decode``): on the processor alone; with 10, 30, 50 and 100 % of each layer's
neurons, the most often active ones, on the GPU; and whole on the GPU in PyTorch, dense. Without a GPU nothing is
measured and an earlier result file stays.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.decoding_process import Answer, Decodes, DecodingProcess
from benchmarks.options import parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.sparse_engines import CONTEXT, Bench, closing, in_turn, more_options, speeds
from fairlead_kernels import pack
from fairlead_sparse_inference.accelerators import HotNeurons, open_accelerator, why_not
from fairlead_sparse_inference.accelerators.interface import Network

TOKENS, QUICK_TOKENS = 128, 32
SHARES = (0.1, 0.3, 0.5, 1.0)
BATCHES = (1, 8)
CLAUSE = "hot neurons on a GPU, cold ones on the processor, merged: >= 1.0x the processor alone"
MODES = ("exact", "predictor")


def _options() -> argparse.ArgumentParser:
    parser = more_options()
    parser.add_argument("--threads", type=int, default=min(8, len(os.sched_getaffinity(0))), help="of the processor")
    return parser


def _metric(mode: str, share: float) -> str:
    where = "all neurons on the GPU" if share == 1 else f"hybrid, {share:.0%} of the neurons on the GPU"
    return f"decode, {mode}, {where}, against the processor alone"


def decode_rows(bench: Bench, threads: int, lacking: str | None) -> Iterator[Row]:
    """Tokens a second of each division, all engines in turn."""
    case = f"{bench.case}, {threads} threads"
    count = QUICK_TOKENS if bench.options.quick else TOKENS
    engines: dict[str, Decodes | None] = {mode: bench.ours(mode, threads) for mode in MODES}
    if lacking is None:
        engines |= {_metric(mode, share): _hybrid(bench, mode, threads, share) for mode in MODES for share in SHARES}
        engines["torch"] = _torch(bench)
    with closing(engines) as there:
        answers = in_turn(there, bench.options.repeats, bench.prompt, count)
    walked = all(
        bench.follows(bench.prompt(index + 1), answer)
        for found in answers.values()
        for index, answer in enumerate(found)
    )
    yield row(case, "all engines give the tokens that the model was made to give", "bool", [float(walked)],
              better="more", limit=1)  # fmt: skip
    for mode in MODES:
        yield row(case, f"decode, {mode}, the processor alone", "tokens/s", speeds(answers[mode]), better="more")
        for share in SHARES:
            yield _compared(case, mode, _metric(mode, share), answers, lacking)
    metric = "decode, dense, the whole model on the GPU (PyTorch, bf16)"
    if lacking is not None:
        yield not_measured(case, metric, "tokens/s", "measured wherever there is a GPU", lacking)
    else:
        yield row(case, metric, "tokens/s", speeds(answers["torch"]), better="more")


def _compared(case: str, mode: str, metric: str, answers: dict[str, list[Answer]], lacking: str | None) -> Row:
    if lacking is not None:
        return not_measured(case, metric, "tokens/s", CLAUSE, lacking)
    ours, alone = speeds(answers[metric]), speeds(answers[mode])
    return row(case, metric, "tokens/s", ours, alone, better="more", target=1.0, promise=CLAUSE)


def _hybrid(bench: Bench, mode: str, threads: int, share: float) -> DecodingProcess:
    return bench.ours(mode, threads, more=["--accelerator", "cuda", "--hot-share", str(share)])


def _torch(bench: Bench) -> DecodingProcess:
    command = ["-m", "benchmarks.torch_worker", str(bench.files.bundle), "--context", str(CONTEXT)]
    return DecodingProcess([sys.executable, *command])


def layer_rows(bench: Bench, lacking: str | None) -> Iterator[Row]:
    """A layer's hot neurons from submission to result, while nothing else is computed."""
    shape = bench.shape
    case = f"a layer of {shape.neurons} neurons, hidden {shape.hidden}, Q4, hot neurons alone"
    for share in SHARES:
        for batch in BATCHES:
            metric = f"{share:.0%} of the neurons, batch {batch}"
            if lacking is not None:
                yield not_measured(case, metric, "µs", "measured wherever there is a GPU", lacking)
            else:
                yield row(case, metric, "µs", _layer_times(bench, round(share * shape.neurons), batch))


def _layer_times(bench: Bench, neurons: int, batch: int, calls: int = 200) -> list[float]:
    random = np.random.default_rng(bench.options.seed)
    shape = bench.shape
    device = open_accelerator("cuda", Network(shape.hidden, "relu"))
    matrix = pack(random.standard_normal((neurons, shape.hidden)).astype(np.float32), 4)
    # Several layers, so that the weights come from the device's memory and not from its cache.
    for layer in range(4):
        device.load(layer, HotNeurons(matrix, matrix, matrix))
    device.input[:batch] = random.standard_normal((batch, shape.hidden)).astype(np.float32)
    found: list[float] = []
    for _ in range(bench.options.repeats + 1):
        times: list[float] = []
        for call in range(calls):
            began = time.perf_counter()
            device.submit(call % 4, batch)
            device.wait()
            times.append((time.perf_counter() - began) * 1e6)
        found.append(statistics.median(times))
    device.close()
    return found[1:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/sparse_hybrid.json."""
    options = parse("sparse_hybrid", __doc__, repeats=5, quick=2, arguments=arguments, more=_options())
    bench = Bench(options, peers=False)
    lacking = why_not("cuda")
    device = "none" if lacking is not None else open_accelerator("cuda", Network(32)).name
    print(f"accelerator: {lacking or device}", flush=True)
    if lacking is not None and not options.quick:
        print("not measured; the result file of an earlier run stays")
        return
    measured = [*layer_rows(bench, lacking), *decode_rows(bench, options.more.threads, lacking)]
    conditions = {**bench.conditions(), "promise": CLAUSE, "accelerator": device, "why_not": lacking}
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

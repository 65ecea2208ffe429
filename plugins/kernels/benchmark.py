"""Times the kernels on every ISA of this machine, on synthetic random weights: python -P benchmark.py [threads].

Times are the best of several runs. With one thread they are processor time, so that a busy machine disturbs
less; with more they are wall time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

import fairlead_kernels as fk

RNG = np.random.default_rng(0)
HIDDEN, NEURONS, LAYERS, VOCABULARY, HEADS, KV_HEADS, HEAD_DIM = 256, 768, 6, 4096, 8, 4, 32
PAGES, PAGE_SIZE = 80, 16


def matrix(rows: int, columns: int) -> fk.Q8Matrix:
    """Random normal weights with variance 1 / columns."""
    return fk.quantize_q8((RNG.standard_normal((rows, columns)) / columns**0.5).astype(np.float32))


def best_s(call: Callable[[], object], threads: int, runs: int) -> float:
    """Seconds of the fastest run."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = float("inf")
    for _ in range(runs):
        start = clock()
        call()
        best = min(best, clock() - start)
    return best


def layer() -> fk.LayerWeights:
    """One random layer of the small model."""
    ones = np.ones(HIDDEN, np.float32)
    query, key = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    return fk.LayerWeights(
        attention_norm=ones,
        query=matrix(query, HIDDEN),
        key=matrix(key, HIDDEN),
        value=matrix(key, HIDDEN),
        output=matrix(HIDDEN, query),
        feed_forward_norm=ones,
        gate=matrix(NEURONS, HIDDEN),
        up=matrix(NEURONS, HIDDEN),
        down_t=matrix(NEURONS, HIDDEN),
    )


def model() -> tuple[fk.DecoderConfig, fk.DecoderWeights]:
    """The small model: about 7 MB of Q8 weights."""
    config = fk.DecoderConfig(VOCABULARY, HIDDEN, HEADS, KV_HEADS, HEAD_DIM)
    layers = tuple(layer() for _ in range(LAYERS))
    table = matrix(VOCABULARY, HIDDEN)
    return config, fk.DecoderWeights(table, layers, np.ones(HIDDEN, np.float32), matrix(VOCABULARY, HIDDEN))


def report(isa: str, threads: int, wide: fk.Q8Matrix, small: tuple[fk.DecoderConfig, fk.DecoderWeights]) -> None:
    """Print one ISA's figures."""
    x = RNG.standard_normal((64, wide.shape[1])).astype(np.float32)
    product_s = best_s(lambda: fk.gemv_q8(wide, x[0]), threads, 10)
    batch_s = best_s(lambda: fk.gemm_q8(wide, x), threads, 3)
    pages = np.zeros((LAYERS, PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM), np.float32)
    decoder = fk.Decoder(*small, pages, pages.copy())
    table = np.arange(PAGES, dtype=np.int32)
    prompt = RNG.integers(0, VOCABULARY, 1024).astype(np.int32)
    prefill_s = best_s(lambda: decoder.prefill(prompt[:128], 0, table), threads, 5)
    decoder.prefill(prompt, 0, table)
    early_s = best_s(lambda: decoder.step(1, 10, table), threads, 50)
    late_s = best_s(lambda: decoder.step(1, 1024, table), threads, 50)
    print(
        f"{isa:7} gemv {wide.nbytes / product_s / 1e9:5.1f} GB/s  gemm {2 * wide.q.size * 64 / batch_s / 1e9:5.0f} "
        f"GFLOP/s  prefill-128 {128 / prefill_s:6.0f} tok/s  step {early_s * 1e3:.3f} ms at position 10, "
        f"{late_s * 1e3:.3f} ms at 1024"
    )


def main() -> None:
    """Run everything on every ISA."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    wide, small = matrix(8192, 2048), model()
    size_mb = small[1].nbytes / 1e6
    print(f"{threads} threads; synthetic weights; model of {size_mb:.1f} MB; gemv 8192 x 2048, gemm batch 64")
    for isa in fk.available_isas():
        fk.select(isa)
        fk.set_threads(threads)
        report(isa, threads, wide, small)


if __name__ == "__main__":
    main()

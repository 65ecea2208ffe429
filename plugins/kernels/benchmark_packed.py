"""Times the kernels over packed 4-bit weights beside the memory's own speed: python -P benchmark_packed.py [threads].

Weights are synthetic and larger than the caches (640 MB). Each figure is the median of several runs, with the fastest
in brackets, in wall time; "read" is what one thread and what all threads reach by just reading the same bytes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

import fairlead_kernels as fk

RNG = np.random.default_rng(0)
HIDDEN, NEURONS, MATRICES = 2048, 8192, 24
ROW = fk.packed_row_bytes(HIDDEN, 4)


def bundles() -> np.ndarray:
    """Random bundles of gate, up and down rows with a plausible scale: uint8 [layers, neurons, 3 rows]."""
    room = RNG.integers(0, 256, (MATRICES, NEURONS, 3 * ROW), np.uint8)
    scale = np.full(HIDDEN // 32, 0.004, np.float16).view(np.uint8)
    for part in range(3):
        room[:, :, part * ROW + HIDDEN // 2 : (part + 1) * ROW] = scale
    return room


def layer(room: np.ndarray, index: int) -> tuple[fk.PackedMatrix, ...]:
    """Gate, up and down_t of one layer as views of its bundles."""
    parts = (room[index, :, part * ROW : (part + 1) * ROW] for part in range(3))
    return tuple(fk.PackedMatrix(part, HIDDEN, 4) for part in parts)


def timed(call: Callable[[], object], runs: int = 9) -> tuple[float, float]:
    """Median and fastest of the runs in seconds, after one that does not count."""
    call()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), min(taken)


def show(name: str, amount: float, unit: str, call: Callable[[], object]) -> None:
    """Print a rate: amount / 1e9 a second."""
    median, fastest = timed(call)
    print(f"  {name:34} {amount / median / 1e9:7.1f} {unit} ({amount / fastest / 1e9:.1f})", flush=True)


def read(room: np.ndarray, threads: int) -> None:
    """Read every byte once, a share by each thread."""
    shares = np.array_split(room.reshape(-1).view(np.uint64), threads)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(np.max, shares))


def report(room: np.ndarray, layers: list[tuple[fk.PackedMatrix, ...]]) -> None:
    """Print what the chosen ISA reaches."""
    x, batch = (RNG.standard_normal(shape).astype(np.float32) for shape in (HIDDEN, (128, HIDDEN)))
    dense = [fk.PackedMatrix(one.reshape(3 * NEURONS, ROW), HIDDEN, 4) for one in room]
    chosen = [np.flatnonzero(RNG.random(NEURONS) < 0.1).astype(np.int32) for _ in layers]
    sparse = sum(map(len, chosen)) * ROW
    weight = np.ones(NEURONS, np.float32)
    show("gemv", room.nbytes, "GB/s", lambda: [fk.gemv_packed(m, x) for m in dense])
    pairs = list(zip(layers, chosen, strict=True))
    show(
        "sum of 10 % random rows",
        sparse,
        "GB/s",
        lambda: [fk.sum_rows_packed(one[2], rows, weight[: len(rows)]) for one, rows in pairs],
    )
    show(
        "feed-forward of 10 % random neurons",
        3 * sparse,
        "GB/s",
        lambda: [fk.sparse_ffn_packed(*one, x, "swiglu", neurons=rows) for one, rows in pairs],
    )
    macs = 3 * NEURONS * HIDDEN
    for size in (4, 8, 128):
        show(f"gemm of {size} vectors", macs * size, "GMAC/s", partial(fk.gemm_packed, dense[0], batch[:size]))
    show("feed-forward of 128 tokens", 128 * macs, "GMAC/s", lambda: fk.sparse_ffn_packed(*layers[0], batch))


def main() -> None:
    """Run everything on every ISA."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("threads", nargs="?", type=int, default=1)
    parser.add_argument("--isa", action="append", help="only these (default: all that run here)")
    arguments = parser.parse_args()
    room = bundles()
    layers = [layer(room, index) for index in range(MATRICES)]
    print(f"{arguments.threads} threads; {MATRICES} layers of {NEURONS} bundles, {room.nbytes / 1e6:.0f} MB, synthetic")
    for threads in sorted({1, arguments.threads}):
        show(f"read, {threads} threads", room.nbytes, "GB/s", partial(read, room, threads))
    for isa in arguments.isa or fk.available_isas():
        fk.select(isa)
        fk.set_threads(arguments.threads)
        print(isa)
        report(room, layers)


if __name__ == "__main__":
    main()

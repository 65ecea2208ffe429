"""Times a whole decoder of random packed weights: ``python -P benchmark_decoder.py --threads 2``.

The default shape has 0.99 billion weights. Random weights have no activation statistics of their own, so that the
predictor, which runs and is timed, has its outcome replaced by a random list of neurons at every step; SiLU is
never zero, so that each listed neuron's up and down rows are read too.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fairlead_kernels as fk

PAGE_SIZE = 16


def random_matrix(rng: np.random.Generator, rows: int, columns: int, bits: int) -> fk.PackedMatrix:
    """Weights of variance 1 / columns with random bits; one scale for all groups."""
    data = rng.integers(0, 256, (rows, fk.packed_row_bytes(columns, bits)), dtype=np.uint8)
    start = -(-columns // 128) * 4 * 4 * bits
    lanes = (data.shape[1] - start) // 2
    data[:, start : start + 2 * lanes].view(np.float16)[:] = np.float16(columns**-0.5 / 2 ** (bits - 2))
    if columns % 128 or data.shape[1] != start + columns // 16:
        raise ValueError(f"columns: accepted: multiples of 256, got {columns}")
    return fk.PackedMatrix(data, columns, bits)


def random_layer(rng: np.random.Generator, c: fk.DecoderConfig, options: argparse.Namespace) -> fk.LayerWeights:
    """One layer whose gate, up and down rows stand side by side in bundles."""
    bits, ones = options.bits, np.ones(c.hidden, np.float32)
    query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
    bundles = random_matrix(rng, 3 * options.neurons, c.hidden, bits)
    rows = bundles.data.reshape(options.neurons, -1)
    width = bundles.data.shape[1]
    gate, up, down_t = (fk.PackedMatrix(rows[:, i * width : (i + 1) * width], c.hidden, bits) for i in range(3))
    predictor = fk.Predictor(
        random_matrix(rng, options.rank, c.hidden, 4),
        random_matrix(rng, options.neurons, options.rank, 4),
        np.zeros(options.neurons, np.float32),
    )
    return fk.LayerWeights(
        attention_norm=ones,
        query=random_matrix(rng, query, c.hidden, bits),
        key=random_matrix(rng, key, c.hidden, bits),
        value=random_matrix(rng, key, c.hidden, bits),
        output=random_matrix(rng, c.hidden, query, bits),
        feed_forward_norm=ones,
        gate=gate,
        up=up,
        down_t=down_t,
        predictor=predictor,
    )


def build(options: argparse.Namespace) -> fk.Decoder:
    """The decoder with its pages and, in predictor mode, its lists of neurons."""
    rng = np.random.default_rng(0)
    c = fk.DecoderConfig(options.vocabulary, options.hidden, 32, 8, 64, "swiglu", mode=options.mode)
    layers = tuple(random_layer(rng, c, options) for _ in range(options.layers))
    embedding = random_matrix(rng, c.vocabulary, c.hidden, options.bits)
    weights = fk.DecoderWeights(embedding, layers, np.ones(c.hidden, np.float32))
    pages = -(-(options.prompt + 2 * options.tokens + 8) // PAGE_SIZE)
    shape = (options.layers, pages, PAGE_SIZE, c.kv_heads, c.head_dim)
    decoder = fk.Decoder(c, weights, np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    count = round(options.share * options.neurons)
    for index in range(options.layers if options.mode == "predictor" else 0):
        chosen = (rng.choice(options.neurons, count, replace=False) for _ in range(16))
        decoder.force_neurons(index, [np.sort(one).astype(np.int32) for one in chosen])
    return decoder


def main() -> None:
    """Print the size, the speed of a prompt, and that of single steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("threads", 2), ("layers", 16), ("hidden", 2048), ("neurons", 8192), ("vocabulary", 4096)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("rank", 512), ("bits", 4), ("tokens", 64), ("prompt", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--share", type=float, default=0.1, help="share of the neurons that the predictor chooses")
    parser.add_argument("--mode", choices=("exact", "predictor"), default="predictor")
    options = parser.parse_args()
    decoder = build(options)
    fk.set_threads(options.threads)
    print(f"{fk.backend().isa}, {decoder.weights.nbytes / 1e6:.0f} MB of weights, {options.threads} threads")
    # As in benchmark.py: one thread is timed in processor time, so that a busy machine disturbs less.
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    table = np.arange(-(-(options.prompt + 2 * options.tokens + 8) // PAGE_SIZE), dtype=np.int32)
    started = clock()
    decoder.prefill(np.arange(options.prompt, dtype=np.int32), 0, table)
    print(f"prompt: {options.prompt / (clock() - started):.1f} tokens/s")
    for turn in range(2):
        spent, predicting = [], 0
        for at in range(options.tokens):
            started = clock()
            result = decoder.step(at, options.prompt + turn * options.tokens + at, table)
            spent.append(clock() - started)
            predicting += int(result.work[:, fk.FIELDS.index("predictor_ns")].sum())
        best = np.sort(spent)
        print(
            f"steps: {options.tokens / sum(spent):.1f} tokens/s; median {1e3 * best[len(best) // 2]:.2f} ms, "
            f"best {1e3 * best[0]:.2f} ms, predictor {predicting / 1e6 / options.tokens:.2f} ms"
        )


if __name__ == "__main__":
    main()

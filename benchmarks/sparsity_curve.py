"""Sparsity against loss: small dReLU models and their SwiGLU twins.

Run: ``python -m benchmarks.sparsity_curve CORPUS``. Every model of a seed sees the same text in the same order for the
same number of steps; they differ in the activation of the feed-forward network and in the weight of the gates' mean in
the loss. Needs PyTorch and a corpus of Markdown books, or several as ``--mixture NAME=PATH``. Loss is of validation
books; repeats are seeds, intervals are of the differences between twins.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.results_file import Row, write_results

SHAPE = {"width": 128, "layers": 4, "heads": 4, "kv_heads": 2, "neurons": 384, "context": 256}
PENALTIES = (0.0, 0.01, 0.03)
#: Student's t of a two-sided 95 % interval, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all models and print, and of a full run write, one row a mixture and penalty."""
    parser = argparse.ArgumentParser("python -m benchmarks.sparsity_curve", description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", help="as `fairlead train-tiny` takes it")
    parser.add_argument(
        "--mixture", action="append", default=[], metavar="NAME=PATH", help="more corpora, one curve each"
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="5 steps, 2 seeds; nothing is written")
    asked = parser.parse_args(arguments)
    corpora = dict(item.split("=", 1) for item in asked.mixture) | (
        {"books": str(asked.corpus)} if asked.corpus else {}
    )
    if not corpora:
        parser.error("give a corpus or --mixture")
    steps, seeds = (5, 2) if asked.quick else (asked.steps, asked.seeds)
    import torch

    torch.set_num_threads(asked.threads)
    rows = [row for name, path in corpora.items() for row in curve(name, Path(path), steps, seeds)]
    if asked.quick:
        print("a quick run: nothing was written")
        return 0
    command = f"python -m benchmarks.sparsity_curve CORPUS --steps {steps} --seeds {seeds}"
    print(write_results("sparsity_curve", command, {"shape": SHAPE, "steps": steps, "seeds": seeds}, rows).name)
    return 0


def curve(name: str, corpus: Path, steps: int, seeds: int) -> list[Row]:
    """Return loss differences to the SwiGLU twin and zero shares of one corpus."""
    with tempfile.TemporaryDirectory() as folder:
        twins = [train(corpus, Path(folder), "swiglu", 0.0, steps, seed) for seed in range(seeds)]
        rows: list[Row] = []
        for penalty in PENALTIES:
            found = [train(corpus, Path(folder), "drelu", penalty, steps, seed) for seed in range(seeds)]
            rises = [math.expm1(ours[0] - twin[0]) * 100 for ours, twin in zip(found, twins, strict=True)]
            middle, half = interval(rises)
            case = f"{name}, gate penalty {penalty:g}, {seeds} seeds"
            zeros = 100 * statistics.mean(sparsity for _, sparsity in found)
            rows += [Row(case, "gates that are zero", "%", zeros), Row(case, "perplexity over SwiGLU", "%", middle)]
            rows.append(Row(case, "half width of its 95 % interval", "%", half))
            print(f"{case}: {zeros:.1f} % zero, perplexity {middle:+.2f} % ± {half:.2f} %", flush=True)
        return rows


def train(corpus: Path, folder: Path, ffn: str, penalty: float, steps: int, seed: int) -> tuple[float, float]:
    """Train one model; returns validation loss in nats a token and the mean share of zero gates."""
    from fairlead_sparse_inference.train.batches import windows
    from fairlead_sparse_inference.train.evaluate import evaluate
    from fairlead_sparse_inference.train.loop import Loop, Recipe
    from fairlead_sparse_inference.train.prepare import prepare
    from fairlead_sparse_inference.train.shape import ModelShape

    prepared = prepare(corpus, 2048, folder / "text")
    shape = ModelShape(vocabulary=prepared.tokenizer.get_vocab_size(), **SHAPE)
    recipe = Recipe(steps=steps, gate_l1=penalty, seed=seed, validate_every=steps, validate_every_s=math.inf)
    run = folder / f"{ffn}-{penalty}-{seed}"
    loop = Loop(replace(shape, ffn=ffn), recipe, prepared.train, prepared.validation, run)
    loop.run()
    score = evaluate(loop.model, windows(prepared.validation, shape.context, 64))
    return score.loss, statistics.mean(score.gate_sparsity)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half the width of a 95 % interval (Student's t); infinite for one value."""
    if len(values) < 2:
        return statistics.mean(values), math.inf
    factor = T_95.get(len(values) - 1, 1.96)
    return statistics.mean(values), factor * statistics.stdev(values) / math.sqrt(len(values))


if __name__ == "__main__":
    raise SystemExit(main())

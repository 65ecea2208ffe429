"""Sparsity against loss: dReLU models and their SwiGLU twins, per data mixture, and in the shape of the shipped model.

Run: ``python -m benchmarks.sparsity_curve --mixture NAME=CORPUS ... --twins CORPUS``. All models of a seed see the same
text in the same order for the same number of steps; they differ in the activation of the feed-forward network and in
the weight of the gates' mean in the loss. CORPUS is a directory or archive of Markdown books, or the run directory of
`fairlead train-tiny`, whose tokens are taken. Loss is that of validation books in full; repeats are seeds, intervals
are of the differences between twins. Needs PyTorch, and for the default lengths a GPU.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results_file import Row, write_results

if TYPE_CHECKING:
    from fairlead_sparse_inference.train.loop import Recipe
    from fairlead_sparse_inference.train.prepare import Prepared

PENALTIES = (0.0, 0.01, 0.03, 0.1)
SMALL = {"width": 192, "layers": 6, "heads": 6, "kv_heads": 3, "neurons": 768, "context": 512}
SHIPPED = {"width": 384, "layers": 6, "heads": 12, "kv_heads": 4, "neurons": 1536, "context": 512}
PROMISE = (
    ">= 85 % measured FFN sparsity at < 1 % perplexity loss against its SwiGLU twin trained the same way (3 seeds, "
    "intervals)"
)
SPARSITY, RISE = 85.0, 1.0
#: Student's t of a two-sided 95 % interval, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


@dataclass(frozen=True, slots=True)
class Result:
    """Validation loss in nats a token; shares of gates and of neurons' products that are zero."""

    loss: float
    gate_zeros: float
    product_zeros: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all models and print, and of a full run write, the rows of each mixture and of the twins."""
    asked = options(arguments)
    import torch

    torch.set_num_threads(asked.threads)
    if asked.quick:
        asked.steps, asked.twin_steps, asked.seeds, asked.batch, asked.twin_batch = 4, 4, 2, 2, 2
    rows: list[Row] = []
    for item in asked.mixture:
        name, _, path = item.partition("=")
        rows += curve(name, Path(path), asked)
    if asked.twins:
        rows += twins(asked.twins, asked)
    if asked.quick:
        print("a quick run: nothing was written")
        return 0
    conditions = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "curve": {"shape": SMALL, "steps": asked.steps, "batch": asked.batch, "seeds": asked.seeds},
        "twins": {"shape": SHIPPED, "steps": asked.twin_steps, "batch": asked.twin_batch, "seeds": asked.seeds},
        "recipe": {"peak_rate": asked.peak_rate, "optimizer": asked.optimizer, "dropout": asked.dropout}
        | ({"gate_skew": asked.gate_skew} if asked.gate_skew else {}),
    }
    command = f"python -m benchmarks.sparsity_curve --mixture NAME=CORPUS --twins CORPUS --seeds {asked.seeds}"
    print(write_results(asked.name, command, conditions, rows).name)
    return 0


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with the usage where nothing is asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks.sparsity_curve", description=__doc__)
    parser.add_argument("--mixture", action="append", default=[], metavar="NAME=CORPUS", help="one curve each")
    parser.add_argument("--twins", type=Path, metavar="CORPUS", help="the shipped model's shape, on this corpus")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64, help="windows of 512 tokens")
    parser.add_argument("--twin-steps", type=int, default=2000)
    parser.add_argument("--twin-batch", type=int, default=128)
    parser.add_argument("--penalty", type=float, default=0.03, help="the twins' weight of the gates' mean")
    parser.add_argument("--gate-skew", type=float, default=0.0, help="of all dReLU models, as train-tiny has it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peak-rate", type=float, default=4e-3)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="muon")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="sparsity_curve", help="of the result file")
    parser.add_argument("--keep", type=Path, help="keep the twins' runs in this directory, to export from")
    parser.add_argument("--quick", action="store_true", help="4 steps, 2 seeds; nothing is written")
    asked = parser.parse_args(arguments)
    if not asked.mixture and not asked.twins:
        parser.error("give --mixture NAME=CORPUS, --twins CORPUS, or both")
    return asked


def curve(name: str, corpus: Path, asked: argparse.Namespace) -> list[Row]:
    """Return perplexity over the SwiGLU twin and zero shares by penalty, for one mixture, in the small shape."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(corpus, Path(folder), SMALL, asked.steps, asked.batch, asked)
        gated = [trainer.train("swiglu", 0.0, seed) for seed in range(asked.seeds)]
        rows: list[Row] = []
        for penalty in PENALTIES:
            found = [trainer.train("drelu", penalty, seed) for seed in range(asked.seeds)]
            rows += compare(f"{name}, gate penalty {penalty:g}, {asked.seeds} seeds", found, gated)
        return rows


def twins(corpus: Path, asked: argparse.Namespace) -> list[Row]:
    """Return the promise's rows: the shipped model's shape and recipe, with dReLU and with SwiGLU."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(corpus, asked.keep or Path(folder), SHIPPED, asked.twin_steps, asked.twin_batch, asked)
        found, gated = [], []
        for seed in range(asked.seeds):
            found.append(trainer.train("drelu", asked.penalty, seed))
            gated.append(trainer.train("swiglu", 0.0, seed))
        case = f"the shipped model's shape, gate penalty {asked.penalty:g}, {asked.seeds} seeds"
        zeros, rise, half = compare(case, found, gated)[1:]
        assert zeros.ours is not None and rise.ours is not None and half.ours is not None
        return [
            replace(zeros, limit=f">= {SPARSITY:g} %", target=PROMISE, holds=zeros.ours >= SPARSITY),
            replace(rise, limit=f"< {RISE:g} %", target=PROMISE, holds=rise.ours + half.ours < RISE),
            half,
        ]


def compare(case: str, found: Sequence[Result], gated: Sequence[Result]) -> list[Row]:
    """Return the rows of one case: zero gates, zero neurons, the rise of perplexity and its interval."""
    rises = [math.expm1(ours.loss - twin.loss) * 100 for ours, twin in zip(found, gated, strict=True)]
    middle, half = interval(rises)
    gates = 100 * statistics.mean(result.gate_zeros for result in found)
    neurons = 100 * statistics.mean(result.product_zeros for result in found)
    ours, theirs = (math.exp(statistics.mean(r.loss for r in part)) for part in (found, gated))
    print(f"{case}: {gates:.1f} % gates zero, perplexity {ours:.2f}, {middle:+.2f} % +- {half:.2f} %", flush=True)
    note = f"perplexity {ours:.2f}, SwiGLU {theirs:.2f}; by seed {', '.join(f'{rise:+.2f} %' for rise in rises)}"
    return [
        Row(case, "gates that are zero", "%", gates),
        Row(case, "neurons whose product is zero", "%", neurons),
        Row(case, "perplexity over SwiGLU", "%", middle, note=note),
        Row(case, "half width of its 95 % interval", "%", half),
    ]


class Trainer:
    """Trains models of one shape on one corpus."""

    def __init__(
        self, corpus: Path, folder: Path, shape: dict[str, int], steps: int, batch: int, asked: argparse.Namespace
    ) -> None:
        from fairlead_sparse_inference.train.shape import ModelShape

        self.prepared = prepared(corpus, asked.vocabulary, folder / "text")
        self.shape = ModelShape(vocabulary=self.prepared.tokenizer.get_vocab_size(), **shape)
        self.folder, self.steps, self.batch, self.asked = folder, steps, batch, asked

    def train(self, ffn: str, penalty: float, seed: int) -> Result:
        """Train one model to its end and score it on all of the validation text."""
        from fairlead_sparse_inference.train.batches import windows
        from fairlead_sparse_inference.train.evaluate import evaluate
        from fairlead_sparse_inference.train.loop import Loop

        shape = replace(self.shape, ffn=ffn)
        run = self.folder / f"{ffn}-{penalty:g}-{seed}"
        loop = Loop(shape, self._recipe(penalty, seed), self.prepared.train, self.prepared.validation, run)
        loop.resume()
        loop.run()
        score = evaluate(loop.model, windows(self.prepared.validation, shape.context), batch=32)
        mean = statistics.mean
        result = Result(score.loss, mean(score.gate_sparsity), mean(score.product_sparsity))
        print(f"{run.name}: {result}, {loop.progress.elapsed_s:.0f} s", flush=True)
        return result

    def _recipe(self, penalty: float, seed: int) -> Recipe:
        from fairlead_sparse_inference.train.loop import Recipe
        from fairlead_sparse_inference.train.objective import pick_device

        device = pick_device("auto").type
        return Recipe(
            batch=self.batch,
            steps=self.steps,
            gate_l1=penalty,
            gate_skew=self.asked.gate_skew if penalty else 0.0,
            seed=seed,
            validate_every=max(1, self.steps // 4),
            validate_every_s=math.inf,
            peak_rate=self.asked.peak_rate,
            optimizer=self.asked.optimizer,
            dropout=self.asked.dropout,
            patience=1 << 30,
            device=device,
            compile=device == "cuda",
            bf16=device == "cuda",
        )


def prepared(corpus: Path, vocabulary: int, folder: Path) -> Prepared:
    """Read the tokens of a run directory, or make those of a corpus."""
    from fairlead_sparse_inference.train.prepare import prepare, read_prepared

    return read_prepared(corpus) if (corpus / "facts.json").exists() else prepare(corpus, vocabulary, folder)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half the width of a 95 % interval (Student's t); infinite for one value."""
    if len(values) < 2:
        return statistics.mean(values), math.inf
    factor = T_95.get(len(values) - 1, 1.96)
    return statistics.mean(values), factor * statistics.stdev(values) / math.sqrt(len(values))


if __name__ == "__main__":
    raise SystemExit(main())

"""The command `fairlead train-tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

# Sizes and recipe are those of the model that ships.
_SHAPE = {"layers": 6, "width": 384, "heads": 12, "kv_heads": 4, "neurons": 1536, "context": 512}
_PEAK_RATES = {"muon": 6e-3, "adamw": 2e-3}
_GATE_L1 = {"drelu": 0.08, "swiglu": 0.0}
_SOME = click.IntRange(min=1)
_POSITIVE = click.FloatRange(min=0, min_open=True)


def _shape_options(command: click.decorators.FC) -> click.decorators.FC:
    for name, default in _SHAPE.items():
        option = click.option(f"--{name.replace('_', '-')}", type=_SOME, default=default, show_default=True)
        command = option(command)
    return command


@click.command("train-tiny")
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--run", "directory", type=click.Path(path_type=Path), required=True, help="Run directory; resumed.")
@click.option("--export", "export_to", type=click.Path(path_type=Path), help="Write the best checkpoint here.")
@click.option("--export-only", is_flag=True, help="Train no further.")
@click.option("--test", "with_test", is_flag=True, help="Score the test text too; look at it once.")
@click.option("--minutes", type=_POSITIVE, help="Wall-clock limit; the learning rate reaches its floor then.")
@click.option("--steps", type=_SOME, help="Limit in steps.")
@click.option("--vocabulary", type=click.IntRange(1, 65536), default=4096, show_default=True)
@_shape_options
@click.option("--head-dim", type=_SOME, help="Elements of a head; the width divided by the heads unless given.")
@click.option(
    "--tasks", default="", metavar="NAMES", help="Train on tasks beside the text: some of recall,copy,arithmetic."
)
@click.option("--ffn", type=click.Choice(["drelu", "swiglu"]), default="drelu", show_default=True, help="Activation.")
@click.option("--batch", type=_SOME, default=128, show_default=True, help="Windows of a step; fewer take less memory.")
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), default="muon", show_default=True)
@click.option("--init", type=click.Path(exists=True, path_type=Path), help="Start from an exported checkpoint.")
@click.option("--peak-rate", type=_POSITIVE, help="Learning rate; default: 0.006 with muon, 0.002 with adamw.")
@click.option(
    "--gate-l1",
    type=click.FloatRange(min=0),
    help="Weight of the mean gate activation in the loss; default: 0.08 for drelu, 0 for swiglu.",
)
@click.option(
    "--gate-skew",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Above 0 that weight leaves neurons that fire often alone and silences others: what caches like.",
)
@click.option("--validate-every", type=_SOME, help="Validate and save every so many steps.")
@click.option(
    "--validate-every-s", type=_POSITIVE, default=120.0, show_default=True, help="Validate and save after so long."
)
@click.option(
    "--patience", type=_SOME, default=8, show_default=True, help="Validations without improvement before it stops."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--dropout", default=0.0, show_default=True, help="Share of each branch's output left out in training.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--compile/--no-compile", default=None, help="torch.compile; on a GPU unless told otherwise.")
@click.option("--validation-book", multiple=True, metavar="NAME", help="Keep this book for validation; repeatable.")
@click.option("--test-book", multiple=True, metavar="NAME", help="Keep this book for the test; repeatable.")
@click.option("--threads", type=_SOME, default=2, show_default=True)
@click.option("--bf16/--fp32", default=None, help="Arithmetic; measured first when neither is given.")
def train_tiny(
    corpus: Path,
    directory: Path,
    export_to: Path | None,
    export_only: bool,
    with_test: bool,
    vocabulary: int,
    threads: int,
    peak_rate: float | None,
    gate_l1: float | None,
    **options: Any,
) -> None:
    """Train a small dReLU (or SwiGLU) language model on CORPUS, a directory or tar archive of Markdown books.

    With --tasks, most documents are tasks whose answers lie up to a context back, written anew for each step.

    Run again with the same run directory to resume.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "training needs PyTorch, which is not installed; install the CPU build with "
            "`pip install torch --index-url https://download.pytorch.org/whl/cpu`"
        ) from error
    from .run import train, write_export

    torch.set_num_threads(threads)
    options["peak_rate"] = _PEAK_RATES[options["optimizer"]] if peak_rate is None else peak_rate
    options["gate_l1"] = _GATE_L1[options["ffn"]] if gate_l1 is None else gate_l1
    try:
        if not export_only:
            train(corpus, directory, vocabulary, options)
        if export_to is not None:
            write_export(directory, export_to, with_test)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error

"""`fairlead kv-calibrate`: alphas for each head of a model, by what compressing it changes in a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

FEWEST_TEXT = 16
GRID = (
    (0.0, 0.0),
    (0.3, 0.0),
    (1.0, 0.0),
    (1.0, 0.02),
    (1.0, 0.1),
    (1.0, 0.3),
    (1e9, 0.0),
    (1e9, 0.02),
    (1e9, 0.05),
    (1e9, 0.1),
    (1e9, 0.2),
    (1e9, 0.4),
    (1e9, 0.8),
    (3.0, 0.8),
    (1.5, 1.5),
    (1e9, 1.5),
    (3.0, 3.0),
    (1e9, 3.0),
    (6.0, 6.0),
    (1e9, 6.0),
    (1e9, 1e9),
)
"""Alphas that each head chooses from: from all tokens in the high tier down to the window alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: prompts of so many tokens, and as many more after each."""

    prompt: int
    text: int
    samples: int
    window: int


@click.command("kv-calibrate")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Written.")
@click.option(
    "--ratio",
    type=click.FloatRange(1),
    default=5.0,
    show_default=True,
    help="How many times smaller than 16-bit floats keys and values are to be.",
)
@click.option("--high", default="K8V4", show_default=True, help="Format of significant tokens.")
@click.option("--low", default="K4V2", show_default=True, help="Format of the others.")
@click.option("--tokens", type=click.IntRange(32), default=2048, show_default=True, help="Of a sample, in all.")
@click.option("--after", type=click.IntRange(FEWEST_TEXT), default=256, show_default=True, help="Of those, measured.")
@click.option("--samples", type=click.IntRange(1), default=8, show_default=True, help="Spread evenly over TEXT.")
@click.option("--window", type=click.IntRange(1), default=64, show_default=True, help="Newest tokens that stay high.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True)
def kv_calibrate(
    model: Path,
    text: Path,
    output: Path,
    ratio: float,
    high: str,
    low: str,
    tokens: int,
    after: int,
    samples: int,
    window: int,
    dtype: str,
    device: str,
) -> None:
    """Find for each head of MODEL how significant a token must be to be kept, and in how many bits.

    Samples of TEXT, which should be like what will be asked, are computed with one head compressed at a time; what
    that changes in the words after it decides. The file is what the setting `calibration` takes.
    """
    if after >= tokens - window:
        raise click.BadParameter(
            f"{after}: accepted: less than --tokens - --window, {tokens - window}", None, None, "--after"
        )
    try:
        import torch  # noqa: F401 - said here how to get it
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "calibration needs PyTorch: pip install 'fairlead-elastic-serving[torch]'"
        ) from error
    from fairlead_language_model.errors import LanguageModelError

    from ..errors import ElasticServingError

    plan = Plan(tokens - after, after, samples, window)
    try:
        _run(model, text, output, ratio, (high, low), plan, dtype, device)
    except (ValueError, OSError, ElasticServingError, LanguageModelError) as error:
        raise click.ClickException(str(error)) from error


def _run(
    model: Path, text: Path, output: Path, ratio: float, formats: tuple[str, str], plan: Plan, dtype: str, device: str
) -> None:
    from ..arena.formats import KVFormat
    from .by_loss import Calibrating
    from .calibration import save

    calibrating = Calibrating.open(
        model, text.read_text(), tuple(KVFormat.parse(name) for name in formats), plan, dtype=dtype, device=device
    )
    budget = 4 * calibrating.head_dim / ratio
    with click.progressbar(calibrating.steps(GRID), length=calibrating.count(GRID), label="measuring heads") as steps:
        for _ in steps:
            pass
    found, together = calibrating.choose(budget)
    save(found, output, calibrating.fingerprint)
    click.echo(
        f"{4 * calibrating.head_dim / found.token_bytes:.2f} times smaller than 16-bit floats; divergence "
        f"{together:.4f} nats a token ({found.lost:.4f} were the heads' losses to add up); written to {output}"
    )
    shares = [float(np.mean(found.high >= 1e9)), float(np.mean(found.low >= 1e9))]
    click.echo(
        f"{shares[0]:.0%} of the heads use no high tier beyond the window, {shares[1]:.0%} keep the window alone"
    )

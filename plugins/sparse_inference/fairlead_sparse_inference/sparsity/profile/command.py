"""The command `fairlead sparse profile`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, format_option, json_option, plots_option, share, table


@click.command("profile")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The .npz to write.")
@click.option("--part", type=click.Choice(["train", "validation", "test", "all"]), default="train", show_default=True)
@click.option("--tokens", type=click.IntRange(min=64), default=32768, show_default=True, help="Tokens to observe.")
@click.option("--context", type=click.IntRange(min=8), help="Tokens a window; default: the model's, at most 512.")
@click.option(
    "--fires",
    type=click.Choice(["gate", "product"]),
    default="gate",
    show_default=True,
    help="What counts as firing: a gate that is not zero (what exact mode reads), or an activation that is not.",
)
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="In a model without zeros the fewest neurons with this share of the squared activations fire.",
)
@click.option("--trace-tokens", type=click.IntRange(min=0), default=4096, show_default=True, help="Tokens to keep.")
@click.option("--seed", default=0, show_default=True)
@plots_option
@format_option
@json_option
@clear_errors
def profile(
    model: Path,
    text: Path,
    out: Path,
    part: str,
    tokens: int,
    context: int | None,
    fires: str,
    energy: float,
    trace_tokens: int,
    seed: int,
    plots: Path | None,
    plot_format: str,
    as_json: bool,
) -> None:
    """Count on TEXT which neurons of MODEL fire: how often, how much together, over batches of 1 to 32.

    MODEL is a checkpoint (Hugging Face layout or GGUF) or the name of a shipped model; TEXT a text file or a corpus.
    """
    from ..model import load_model
    from ..text import read_windows
    from .file import write_profile
    from .run import observe, summarize

    report = Report(as_json)
    loaded = load_model(model)
    windows = read_windows(text, part, loaded.tokenizer, loaded.config, tokens, context)
    with report.progress("observing windows", len(windows.rows)) as advance:
        records = observe(loaded, windows, fires, energy, advance)  # pyright: ignore[reportArgumentType]
    settings: dict[str, Any] = {"part": part, "fires": fires, "energy": energy, "seed": seed}
    with report.progress("ordering layers", len(records)) as advance:
        made = summarize(loaded, windows, records, settings, trace_tokens, seed, advance)
    write_profile(made, out)
    report.say(f"written: {out} and {out.with_suffix('.json')}")
    drawn = report.plot(plots, lambda directory: _draw(made, directory, plot_format))
    report.result({**made.summary, "profile": str(out), "plots": drawn}, *_tables(made.summary))


def _draw(made: Any, directory: Path, form: str) -> list[Path]:
    from .plots import draw

    return draw(made, directory, form)


def _tables(summary: dict[str, Any]) -> list[Any]:
    title = f"{summary['model']}: {summary['tokens']} tokens of {summary['part']}, {summary['neurons']} neurons a layer"
    return [
        table(
            title,
            [
                "layer",
                "silent",
                "gate zero",
                "product zero",
                "80 % from",
                "Gini",
                "fire",
                "of 8",
                "of 32",
                "again",
            ],
            [
                [
                    layer["network"].removeprefix("layers."),
                    f"{layer['sparsity']:.1%}",
                    f"{layer['gate_sparsity']:.1%}",
                    f"{layer['product_sparsity']:.1%}",
                    f"{layer['hot_share_80']:.1%}",
                    f"{layer['gini']:.2f}",
                    *("-" if math.isnan(layer["union"][i]) else f"{layer['union'][i]:.0f}" for i in (0, 3, 5)),
                    share(layer["reuse"]["1"]),
                ]
                for layer in summary["layers"]
            ],
        )
    ]

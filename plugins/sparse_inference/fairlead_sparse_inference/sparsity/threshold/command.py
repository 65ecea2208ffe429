"""The command `fairlead sparse threshold`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, format_option, json_option, plots_option, rise, table, write_json

_LEVELS = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@click.command("threshold")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The JSON to write.")
@click.option(
    "--sparsity",
    "levels",
    type=click.FloatRange(0, 1, max_open=True),
    multiple=True,
    default=_LEVELS,
    show_default=True,
    help="Wanted share of neurons left out; may be given several times.",
)
@click.option("--tokens", type=click.IntRange(min=64), default=8192, show_default=True, help="To calibrate on (train).")
@click.option("--held-tokens", type=click.IntRange(min=64), default=16384, show_default=True, help="To score.")
@click.option("--part", type=click.Choice(["validation", "test"]), default="validation", show_default=True)
@click.option("--context", type=click.IntRange(min=8), help="Tokens a window; default: the model's, at most 512.")
@plots_option
@format_option
@json_option
@clear_errors
def threshold(
    model: Path,
    text: Path,
    out: Path,
    levels: tuple[float, ...],
    tokens: int,
    held_tokens: int,
    part: str,
    context: int | None,
    plots: Path | None,
    plot_format: str,
    as_json: bool,
) -> None:
    """Find per-layer thresholds of MODEL on TEXT, and what each sparsity costs in perplexity and gives in speed.

    Lossy and without training: neurons whose gate is weak are left out.
    """
    from ..model import load_model
    from ..text import read_windows

    report = Report(as_json)
    loaded = load_model(model)
    learn = read_windows(text, "train", loaded.tokenizer, loaded.config, tokens, context)
    held = read_windows(text, part, loaded.tokenizer, loaded.config, held_tokens, context)
    content = _run(report, loaded, learn, held, sorted(set(levels)))
    content |= {"part": part, "model": loaded.path.name}
    write_json(out, content)
    report.say(f"written: {out}")
    drawn = report.plot(plots, lambda directory: _draw(content, directory, plot_format))
    report.result({**content, "out": str(out), "plots": drawn}, _table(content))


def _run(report: Report, model: Any, learn: Any, held: Any, levels: list[float]) -> dict[str, Any]:
    from ..perplexity.score import score
    from ..perplexity.speed import timer
    from ..predictor.examples import capture_inputs
    from .cut import Cut, layer_thresholds

    with report.progress("capturing inputs", len(learn.rows)) as advance:
        inputs = capture_inputs(model, learn.rows, advance)
    chosen = layer_thresholds(model.graph, inputs, levels)
    clock = timer(model, inputs)
    made: list[dict[str, Any]] = []
    with report.progress("scoring", (1 + len(levels)) * len(held.rows)) as advance:
        exact = score(model, held.rows, advance=lambda: advance("exact"))
        for level, thresholds in zip(levels, chosen, strict=True):
            cut = Cut(model.graph, thresholds)
            result = score(model, held.rows, cut, lambda level=level: advance(f"sparsity {level:.0%}"))
            moved, error = result.moved_from(exact)
            fired = cut.shares.of(cut.shares.fired)
            made.append(
                {
                    "sparsity": level,
                    "measured_sparsity": round(1 - sum(fired) / len(fired), 4),
                    **result.record(held.bytes_per_token),
                    "rise": round(moved, 6),
                    "rise_95": round(error, 6),
                    "feed_forward_us": None if clock is None else round(1e6 * clock.threshold(thresholds), 1),
                    "thresholds": thresholds,
                }
            )
    dense = None if clock is None else round(1e6 * clock.dense(), 1)
    return {"exact": exact.record(held.bytes_per_token), "dense_feed_forward_us": dense, "levels": made}


def _draw(content: dict[str, Any], directory: Path, form: str) -> list[Path]:
    from .plots import draw

    return draw(content, directory, form)


def _table(content: dict[str, Any]) -> Any:
    dense = content["dense_feed_forward_us"]
    exact = content["exact"]
    rows = [
        ["all computed", "0.0%", f"{exact['perplexity']:.3f}", "", "-" if dense is None else f"{dense:.0f}", "1.00"]
    ]
    for level in content["levels"]:
        time_us = level["feed_forward_us"]
        rows.append(
            [
                f"{level['sparsity']:.0%}",
                f"{level['measured_sparsity']:.1%}",
                f"{level['perplexity']:.3f}",
                rise(level["rise"], level["rise_95"], 2),
                "-" if time_us is None else f"{time_us:.0f}",
                "-" if time_us is None else f"{dense / time_us:.2f}",
            ]
        )
    title = f"{content['model']}: {exact['tokens']} tokens of {content['part']}"
    return table(title, ["wanted", "left out", "perplexity", "rise", "feed-forward, µs", "times as fast"], rows)

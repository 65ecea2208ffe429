"""The command `fairlead sparse perplexity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, json_option, rise, table


@click.command("perplexity")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option(
    "--part", type=click.Choice(["train", "validation", "test", "all"]), default="validation", show_default=True
)
@click.option("--tokens", type=click.IntRange(min=8), help="Default: all, in windows as the model card has them.")
@click.option("--context", type=click.IntRange(min=8), help="Tokens a window; default: the model's, at most 512.")
@click.option(
    "--predictors",
    type=click.Path(path_type=Path),
    help="Of `train-predictor`: also score predictor mode; a bundle has its own.",
)
@click.option("--thresholds", type=click.Path(path_type=Path), help="Of `threshold`: also score its levels.")
@click.option("--sparsity", type=float, multiple=True, help="Levels of --thresholds; default: all.")
@json_option
@clear_errors
def perplexity(
    model: Path,
    text: Path,
    part: str,
    tokens: int | None,
    context: int | None,
    predictors: Path | None,
    thresholds: Path | None,
    sparsity: tuple[float, ...],
    as_json: bool,
) -> None:
    """Score MODEL on TEXT, exact and in the approximate modes asked for, with the time of the feed-forward layers."""
    from ..model import load_model
    from ..text import read_windows

    report = Report(as_json)
    loaded = load_model(model)
    modes = _modes(loaded, predictors, thresholds, sparsity)
    windows = read_windows(text, part, loaded.tokenizer, loaded.config, tokens, context)
    content = _run(report, loaded, windows, modes)
    content |= {"part": part, "documents": list(windows.documents), "model": loaded.path.name}
    report.result(content, _table(content))


def _modes(model: Any, predictors: Path | None, thresholds: Path | None, levels: tuple[float, ...]) -> dict[str, Any]:
    """Return name -> (what it is made of, kind), exact mode first."""
    from ...bundle import all_networks
    from ..predictor.file import read_predictors
    from ..threshold.file import read_thresholds

    config = model.config
    modes: dict[str, Any] = {"exact": None}
    if predictors is not None:
        modes["predictor"] = read_predictors(predictors, all_networks(config), config.hidden_size)[0]
    elif model.predictors:
        modes["predictor"] = model.predictors
    if thresholds is not None:
        found = read_thresholds(thresholds, config.num_hidden_layers)
        missing = [level for level in levels if level not in found]
        if missing:
            raise ValueError(f"--sparsity {missing[0]}: accepted: {', '.join(map(str, found))} of {thresholds}")
        modes |= {f"threshold {level:.0%}": found[level] for level in levels or found}
    return modes


def _run(report: Report, model: Any, windows: Any, modes: dict[str, Any]) -> dict[str, Any]:
    from ..predictor.examples import capture_inputs
    from ..threshold.cut import Cut
    from .modes import Exact, Predicted, layer_choices
    from .score import score
    from .speed import timer

    clock = timer(model, capture_inputs(model, windows.rows[:2], lambda: None))
    rows: dict[str, Any] = {}
    exact: Any = None
    with report.progress("scoring", len(modes) * len(windows.rows)) as advance:
        for name, made in modes.items():
            if made is None:
                run, time_s = Exact(model.graph), clock and clock.exact()
            elif name == "predictor":
                run = Predicted(model.graph, layer_choices(model.graph, made))
                time_s = clock and clock.predicted(list(made.values()))
            else:
                run, time_s = Cut(model.graph, made), clock and clock.threshold(made)
            result = score(model, windows.rows, run, lambda name=name: advance(name))
            exact = exact or result
            moved, error = result.moved_from(exact)
            shares = run.shares
            rows[name] = {
                **result.record(windows.bytes_per_token),
                "rise": round(moved, 6),
                "rise_95": round(error, 6),
                "computed": shares.of(shares.kept),
                "active": shares.of(shares.fired),
                "feed_forward_us": None if time_s is None else round(1e6 * time_s, 1),
            }
    return {"modes": rows}


def _table(content: dict[str, Any]) -> Any:
    rows: list[list[str]] = []
    for name, found in content["modes"].items():
        computed, active = (sum(found[key]) / len(found[key]) for key in ("computed", "active"))
        time_us = found["feed_forward_us"]
        rows.append(
            [
                name,
                f"{found['perplexity']:.3f}",
                "" if name == "exact" else rise(found["rise"], found["rise_95"]),
                f"{computed:.1%}",
                f"{active:.1%}",
                "-" if time_us is None else f"{time_us:.0f}",
            ]
        )
    exact = content["modes"]["exact"]
    title = f"{content['model']}: {exact['tokens']} tokens of {content['part']}, {exact['bits_per_byte']} bits a byte"
    headings = ["mode", "perplexity", "rise", "gates computed", "up and down read", "feed-forward, µs a token"]
    return table(title, headings, rows)

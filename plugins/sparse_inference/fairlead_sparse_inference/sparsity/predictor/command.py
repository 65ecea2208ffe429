"""The command `fairlead sparse train-predictor`."""

from __future__ import annotations

from math import expm1
from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, format_option, json_option, plots_option, rise, table


@click.command("train-predictor")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--tokens", type=click.IntRange(min=256), default=32768, show_default=True, help="To learn from.")
@click.option("--held-tokens", type=click.IntRange(min=64), default=8192, show_default=True, help="To calibrate on.")
@click.option("--test-tokens", type=click.IntRange(min=64), default=16384, show_default=True, help="To report on.")
@click.option("--context", type=click.IntRange(min=8), help="Tokens a window; default: the model's, at most 512.")
@click.option(
    "--perplexity-budget",
    type=click.FloatRange(min=0, min_open=True),
    default=0.004,
    show_default=True,
    help="By which share validation perplexity may rise; thresholds spend it where it saves the most reads.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0.5, 1, max_open=True),
    help="Instead of spending the budget: one share of what firing neurons add to the output that predicted ones of "
    "each network must hold; raised until perplexity rises by less than the budget.",
)
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Predictors to set the thresholds of anew, instead of training.",
)
@click.option(
    "--fewest-samples",
    type=click.IntRange(min=8),
    default=256,
    show_default=True,
    help="An expert that gets fewer of the tokens has no predictor and stays exact.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--torch/--numpy", "use_torch", default=None, help="What trains; default: PyTorch where installed.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of PyTorch.")
@plots_option
@format_option
@json_option
@clear_errors
def train_predictor(
    model: Path,
    text: Path,
    out: Path,
    tokens: int,
    held_tokens: int,
    test_tokens: int,
    context: int | None,
    perplexity_budget: float,
    recall: float | None,
    calibrate: Path | None,
    fewest_samples: int,
    epochs: int,
    seed: int,
    use_torch: bool | None,
    threads: int,
    plots: Path | None,
    plot_format: str,
    as_json: bool,
) -> None:
    """Train on TEXT what predicts which neurons of MODEL will fire.

    A mixture of experts gets a predictor for each expert, from the tokens that the router gives it.

    Learns from the training part, sets hidden sizes and thresholds on the validation part, and reports once on the test
    part. Exit status 3: the file is written, but perplexity rises by more than is allowed.
    """
    from ..model import load_model
    from .fit import Recipe
    from .train import Wanted, require_zeros

    report = Report(as_json)
    loaded = load_model(model)
    require_zeros(loaded)
    torch = _choose(use_torch, threads)
    recipe = Recipe(epochs=epochs, seed=seed)
    sizes = {"train": tokens, "validation": held_tokens, "test": test_tokens}
    wanted = Wanted(perplexity_budget, recall, fewest_samples)
    content = _run(report, loaded, text, sizes, context, wanted, recipe, torch, calibrate, out)
    content["plots"] = report.plot(plots, lambda directory: _draw(content, directory, plot_format))
    report.result(content, *_tables(content))
    if not content["allowed"]:
        raise click.exceptions.Exit(3)


def _choose(use_torch: bool | None, threads: int) -> bool:
    from .fit import has_torch

    if use_torch and not has_torch():
        raise click.ClickException("--torch: PyTorch is not installed; leave the option out to train in NumPy")
    chosen = has_torch() if use_torch is None else use_torch
    if chosen:
        import torch

        torch.set_num_threads(threads)
    return chosen


def _run(
    report: Report,
    model: Any,
    text: Path,
    sizes: dict[str, int],
    context: int | None,
    wanted: Any,
    recipe: Any,
    use_torch: bool,
    calibrate: Path | None,
    out: Path,
) -> dict[str, Any]:
    from dataclasses import replace

    from ...bundle import all_networks
    from ..perplexity.compare import Reference
    from ..perplexity.speed import time_share
    from ..text import read_windows
    from .examples import capture_inputs
    from .file import write_predictors
    from .train import gated, network_records, train_layers, trained_before, verdict

    def read(part: str) -> Any:
        return read_windows(text, part, model.tokenizer, model.config, sizes[part], context)

    before = None if calibrate is None else trained_before(calibrate, model)
    learn, hold = None if before else read("train"), read("validation")
    with report.progress("capturing inputs", len(hold.rows) + (len(learn.rows) if learn else 0)) as advance:
        held = capture_inputs(model, hold.rows, advance)
        inputs = capture_inputs(model, learn.rows, advance) if learn else held
    with report.progress("training layers", model.config.num_hidden_layers) as advance:
        trained = before or train_layers(model, inputs, held, wanted, recipe, use_torch, report.say, advance)
    first = {name: item.predictor for name, item in trained.items()}
    set_ = gated(model, first, held, Reference(model, hold.rows), wanted, report.say)
    predictors = set_.predictors
    trained = {name: replace(item, predictor=predictors[name]) for name, item in trained.items()}
    test = read("test")
    with report.progress("testing once", len(test.rows)) as advance:
        seen = capture_inputs(model, test.rows, advance)
    qualities, cost = verdict(model, predictors, seen, test.rows)
    exact, predicted = cost.exact, cost.approximate
    moved, error = predicted.moved_from(exact)
    parameters = sum(predictor.parameters for predictor in predictors.values())
    exact_experts = [str(name) for name in all_networks(model.config) if str(name) not in predictors]
    content = {
        "model": model.path.name,
        "trained_with": calibrate.name if calibrate else "PyTorch" if use_torch else "NumPy",
        "documents": {
            "train": len(learn.documents) if learn else 0,
            "validation": list(hold.documents),
            "test": list(test.documents),
        },
        "tokens": {"train": learn.tokens if learn else 0, "validation": hold.tokens, "test": test.tokens},
        "calibrated_recall": set_.recall,
        "perplexity_budget": wanted.perplexity_budget,
        "validation_rise": round(set_.cost.rise, 6),
        "validation_divergence": round(set_.cost.divergence, 7),
        "layer_prices": set_.prices,
        "allowed": set_.allowed,
        "test_exact": exact.record(test.bytes_per_token),
        "test_predicted": predicted.record(test.bytes_per_token),
        "test_rise": round(moved, 6),
        "test_rise_95": round(error, 6),
        "test_divergence": round(cost.divergence, 7),
        "parameters": parameters,
        "parameter_share": round(parameters / model.parameters, 4),
        "time_share": time_share(model, list(predictors.values()), seen),
        "without_predictor": exact_experts,
        "layers": network_records(model, trained, qualities),
    }
    write_predictors(predictors, content, out)
    report.say(f"written: {out}")
    return {**content, "predictors": str(out)}


def _draw(content: dict[str, Any], directory: Path, form: str) -> list[Path]:
    from .plots import draw

    return draw(content, directory, form)


def _tables(content: dict[str, Any]) -> list[Any]:
    names = ("weighted_recall", "recall", "precision", "predicted", "fires", "gates", "relative_cost")
    rows = [
        [layer["network"], str(layer["rank"]), *(f"{layer[name]:.2%}" if name in layer else "-" for name in names)]
        for layer in content["layers"]
    ]
    headings = ["network", "rank", "weighted recall", "recall", "precision", "predicted", "fires", "gates", "reads"]
    share = content["time_share"]
    whole = [
        ["test perplexity, exact", f"{content['test_exact']['perplexity']:.3f}"],
        ["test perplexity, predicted", f"{content['test_predicted']['perplexity']:.3f}"],
        ["rise", rise(content["test_rise"], content["test_rise_95"])],
        ["rise to expect from the divergence", f"{expm1(content['test_divergence']):.3%}"],
        ["parameters", f"{content['parameters']} ({content['parameter_share']:.1%} of the model)"],
        ["time, of the feed-forward layers", "not measured" if share is None else f"{share:.1%}"],
    ]
    if content["without_predictor"]:
        whole.append(["experts without a predictor", str(len(content["without_predictor"]))])
    title = f"{content['model']}: predictors on {content['tokens']['test']} tokens of test text"
    return [table(title, headings, rows), table("whole model", ["what", "value"], whole)]

"""The command `fairlead sparse drelufy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, json_option, rise, table


@click.command("drelufy")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option("--run", "directory", type=click.Path(path_type=Path), required=True, help="Run directory; resumed.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Write the best checkpoint here.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Wall-clock limit.")
@click.option("--steps", type=click.IntRange(min=1), help="Limit in steps.")
@click.option(
    "--fade",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the run over which SwiGLU fades into dReLU; 0 switches at once, as TurboSparse does.",
)
@click.option("--context", type=click.IntRange(min=8), default=512, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--peak-rate", default=5e-4, show_default=True)
@click.option("--gate-l1", default=0.0, show_default=True, help="Weight of the mean gate activation in the loss.")
@click.option("--validate-every", type=click.IntRange(min=1), help="Validate and save every so many steps.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@json_option
@clear_errors
def drelufy(
    model: Path, text: Path, directory: Path, out: Path, context: int, threads: int, as_json: bool, **options: Any
) -> None:
    """Turn the SwiGLU checkpoint MODEL into a dReLU one by training it further on TEXT, and say what that cost.

    Llama and Mistral architectures without biases. Needs PyTorch. Run again with the same run directory to resume.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise click.ClickException("drelufy needs PyTorch: pip install 'fairlead-sparse-inference[train]'") from error
    from ...train.loop import Recipe
    from ..model import load_model
    from .initial import shape_of
    from .run import continue_training, write_result

    torch.set_num_threads(threads)
    report = Report(as_json)
    loaded = load_model(model)
    shape = shape_of(loaded.config, loaded.path, context)
    minutes = options.pop("minutes")
    recipe = Recipe(**options, limit_s=minutes * 60 if minutes else None, patience=1 << 30)
    done = continue_training(loaded, text, shape, recipe, directory, report.say)
    write_result(loaded, directory, out)
    report.say(f"written: {out}")
    content = {"steps": done.step, "tokens": done.tokens, "model": loaded.path.name, "out": str(out)}
    content |= _compare(report, loaded, load_model(out), text, shape.context)
    report.result(content, _table(content))


def _compare(report: Report, before: Any, after: Any, text: Path, context: int) -> dict[str, Any]:
    from ..perplexity.modes import Exact
    from ..perplexity.score import score
    from ..text import read_windows

    windows = read_windows(text, "validation", before.tokenizer, before.config, 16384, context)
    with report.progress("scoring", 2 * len(windows.rows)) as advance:
        first = score(before, windows.rows, advance=advance)
        exact = Exact(after.graph)
        second = score(after, windows.rows, exact, advance)
    moved, error = second.moved_from(first)
    fired = exact.shares.of(exact.shares.fired)
    return {
        "swiglu": first.record(windows.bytes_per_token),
        "drelu": second.record(windows.bytes_per_token),
        "rise": round(moved, 5),
        "rise_95": round(error, 5),
        "gate_sparsity": [round(1 - share, 4) for share in fired],
    }


def _table(content: dict[str, Any]) -> Any:
    sparsity = content["gate_sparsity"]
    rows = [
        ["trained", f"{content['steps']} steps, {content['tokens']} tokens"],
        ["validation perplexity, SwiGLU", f"{content['swiglu']['perplexity']:.3f}"],
        ["validation perplexity, dReLU", f"{content['drelu']['perplexity']:.3f}"],
        ["rise", rise(content["rise"], content["rise_95"], 2)],
        ["gates that are zero", f"{sum(sparsity) / len(sparsity):.1%}"],
    ]
    return table(content["model"], ["what", "value"], rows)

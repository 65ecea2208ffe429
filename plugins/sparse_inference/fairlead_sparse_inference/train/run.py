"""One training run from the command's options: prepare, choose the arithmetic, train, export."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import torch
from tokenizers import Tokenizer

from .export import export, load_exported
from .hardware import hardware
from .loop import Loop, Recipe, best_recipe
from .model import LlamaDrelu
from .objective import pick_device
from .prepare import prepare, read_prepared
from .shape import ModelShape
from .task_export import export_tasks
from .tasks import parse_tasks


def train(corpus: Path, directory: Path, vocabulary: int, options: dict[str, Any]) -> None:
    """Train in `directory`, resuming what is there."""
    held = {"validation": options.pop("validation_book"), "test": options.pop("test_book")}
    prepared = prepare(corpus, vocabulary, directory, held)
    names = {field.name for field in fields(ModelShape)}
    shape = ModelShape(
        vocabulary=prepared.tokenizer.get_vocab_size(),
        **{name: value for name, value in options.items() if name in names},
    )
    minutes = options.pop("minutes")
    device = pick_device(options["device"])
    on_gpu = device.type == "cuda"
    bf16 = options["bf16"] if options["bf16"] is not None else on_gpu or bf16_is_faster(shape)
    options["compile"] = on_gpu if options["compile"] is None else options["compile"]
    options["tasks"] = parse_tasks(options["tasks"])
    names = {field.name for field in fields(Recipe)} - {"bf16", "limit_s", "device"}
    chosen = {name: value for name, value in options.items() if name in names}
    if options["tasks"]:
        # The tasks are scored beside them; a validation must not take longer than what it validates.
        chosen["validation_windows"] = 4
    start = options.pop("init")
    started_from = start.name if start else None
    limit_s = minutes * 60 if minutes else None
    recipe = Recipe(**chosen, bf16=bf16, limit_s=limit_s, started_from=started_from, device=device.type)
    loop = Loop(shape, recipe, prepared.train, prepared.validation, directory, prepared.tokenizer)
    resumed = loop.resume()
    if start and not resumed:
        start_from(loop.model, start, prepared.tokenizer)
    count = sum(parameter.numel() for parameter in loop.model.parameters())
    click.echo(
        f"{'resuming' if resumed else 'training'} {count / 1e6:.2f} M parameters on {len(prepared.train)} tokens "
        f"in {'bfloat16' if bf16 else 'float32'} on {hardware(device)}"
    )
    done = loop.run()
    click.echo(f"{done.step} steps, {done.tokens} tokens, best validation loss {done.best_loss:.4f}")


def write_export(directory: Path, target: Path, with_test: bool) -> None:
    """Export the best checkpoint of a run directory."""
    prepared = read_prepared(directory)
    if best_recipe(directory).get("tasks"):
        for length, some in export_tasks(directory, target, prepared, with_test).items():
            for name, score in some.items():
                click.echo(f"{name}, {length} tokens: {score.accuracy:.2%} of {score.asked} answers")
        return
    scores = export(directory, target, with_test)
    for name, score in scores.items():
        click.echo(f"{name}: perplexity {score.perplexity:.2f} over {score.tokens} tokens")


def start_from(model: LlamaDrelu, directory: Path, tokenizer: Tokenizer) -> None:
    """Give a model the weights of an exported checkpoint.

    Raises:
        ValueError: the checkpoint has another shape, or its tokenizer another vocabulary; names the directory.
    """
    found = load_exported(directory)
    if found.shape != model.shape:
        raise ValueError(f"{directory} holds a model of shape {found.shape}; accepted: {model.shape}")
    if Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"{directory / 'tokenizer.json'} is not the vocabulary of this corpus")
    model.load_state_dict(found.state_dict())


def bf16_is_faster(shape: ModelShape, repeats: int = 8) -> bool:
    """Time one feed-forward product, forward and backward, in both arithmetics."""
    x, w = torch.randn(4096, shape.width), torch.randn(shape.neurons, shape.width)

    def cost_s(dtype: torch.dtype) -> float:
        a, b = x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()
        (a @ b.T).sum().backward()
        started = time.perf_counter()
        for _ in range(repeats):
            (a @ b.T).sum().backward()
        return time.perf_counter() - started

    return cost_s(torch.bfloat16) < cost_s(torch.float32)

"""Continues a SwiGLU model's training as dReLU, and writes the result as a checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairlead_language_model.hf_config import write_hf_config
from fairlead_language_model.quantize import write_tokenizer

from ...train.layout import write_weights
from ...train.loop import Loop, Progress, Recipe, load_model
from ...train.shape import ModelShape
from ..model import ToolModel
from ..text import encode, part_of, read_books_or_text
from .initial import initial_state


def continue_training(
    model: ToolModel, text: Path, shape: ModelShape, recipe: Recipe, directory: Path, say: Callable[[str], None]
) -> Progress:
    """Train in `directory`, resuming what is there. Raises ValueError for a text that is too short."""
    books = read_books_or_text(text)
    train, validation = (
        encode(part_of(books, part), model.tokenizer, model.config) for part in ("train", "validation")
    )
    loop = Loop(shape, recipe, train, validation, directory)
    if loop.resume():
        say(f"resuming at step {loop.progress.step}")
    else:
        state = initial_state(model.graph.weights, shape)
        loop.model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        say(f"training {sum(value.size for value in state.values()) / 1e6:.2f} M parameters on {len(train)} tokens")
    return loop.run()


def write_result(model: ToolModel, directory: Path, target: Path) -> None:
    """Write the best checkpoint of a run in Q8 groups with config and tokenizer; all of it, or nothing.

    Raises ValueError where the target exists and is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"{target}: exists already; accepted: a new or an empty directory")
    trained, _ = load_model(directory / "best.pt")
    weights: dict[str, Any] = {name: value.float().numpy() for name, value in trained.state_dict().items()}
    changes = {"ffn": "drelu", "hidden_act": "relu", "intermediate_size": trained.shape.neurons}
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        write_weights({name: np.asarray(value) for name, value in weights.items()}, partial / "model.safetensors")
        write_hf_config(model.config.model_copy(update=changes), partial / "config.json")
        write_tokenizer(model.path, partial)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

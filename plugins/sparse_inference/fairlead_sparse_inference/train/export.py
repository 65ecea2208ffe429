"""Writes the best checkpoint of a run in the layout that the engine reads, scores it, and writes its card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from fairlead_kernels import Q8Matrix

from .batches import windows
from .card import Scores, model_card
from .evaluate import evaluate
from .layout import config, shape_of, with_sparsity, write_checkpoint, write_json
from .loop import load_model
from .model import LlamaDrelu
from .prepare import Prepared, read_prepared


def export(directory: Path, target: Path, with_test: bool) -> Scores:
    """Quantize the best checkpoint of a run, write it to `target`, and score what was written.

    Returns:
        Scores by name: the trained weights and the quantized ones on the validation text, and with `with_test` the
        quantized ones on the test text.

    Raises:
        ValueError: there is no run, or it was never validated.
    """
    prepared = read_prepared(directory)
    if not (directory / "best.pt").exists():
        raise ValueError(f"{directory}: holds no validated checkpoint yet; train further before the export")
    model, state = load_model(directory / "best.pt")
    weights = {name: value.float().numpy() for name, value in model.state_dict().items()}
    write_checkpoint(target, model.shape, weights, prepared.tokenizer)
    scores = _scores(model, load_exported(target), prepared, with_test)
    measured = scores["validation, Q8_0"]
    written = config(model.shape, prepared.tokenizer)
    write_json(target / "config.json", with_sparsity(written, measured.gate_sparsity, measured.product_sparsity))
    lines = (directory / "log.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    (target / "MODEL_CARD.md").write_text(model_card(model.shape, prepared.facts, state, log, scores))
    return scores


def _scores(model: LlamaDrelu, quantized: LlamaDrelu, prepared: Prepared, with_test: bool) -> Scores:
    validation = windows(prepared.validation, model.shape.context)
    scores = {"validation, trained": evaluate(model, validation), "validation, Q8_0": evaluate(quantized, validation)}
    if with_test:
        scores["test, Q8_0"] = evaluate(quantized, windows(prepared.test, model.shape.context))
    return scores


def load_exported(directory: Path) -> LlamaDrelu:
    """Read an exported checkpoint back into the PyTorch model, with the values that the engine multiplies by."""
    written = json.loads((directory / "config.json").read_text())
    tensors = load_file(directory / "model.safetensors")
    model = LlamaDrelu(shape_of(written))
    state = {name: torch.from_numpy(value) for name, value in tensors.items() if not name.endswith((".q8", ".scale"))}
    for name in (name.removesuffix(".q8") for name in tensors if name.endswith(".q8")):
        matrix = Q8Matrix(tensors[f"{name}.q8"], tensors[f"{name}.scale"])
        dense = matrix.dequantize().T if name.endswith("_t") else matrix.dequantize()
        state[name.removesuffix("_t")] = torch.from_numpy(np.ascontiguousarray(dense))
    model.load_state_dict(state)
    return model.eval()

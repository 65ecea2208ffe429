"""Converts a checkpoint to the Q8 layout that the compiled kernels read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from fairlead_kernels import GROUP, Q8Matrix, quantize_q8

from .checkpoint import TRANSPOSED, Checkpoint, Matrix
from .hf_checkpoint import QUANTS, SCALE, SINGLE
from .hf_config import write_hf_config
from .tokenizer import open_tokenizer

# Small, and what they decide or add is not averaged over many products.
_KEPT = ("mlp.gate.weight", "mlp.shared_expert_gate.weight", "embed_positions.weight")
_BESIDE = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def write_q8_checkpoint(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint as Q8 pairs in Hugging Face's layout, with its config and tokenizer.

    Down projections are stored transposed, so that a neuron's weights lie together, and are quantized along that row.
    Matrices that are in Q8 groups already keep them; those whose rows are no multiple of 32 stay float32. All weights
    are in memory at once. Raises CheckpointError for a damaged source.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, NDArray[Any]] = {}
    for name in sorted(checkpoint.names()):
        tensors |= _stored(checkpoint, name)
    file = directory / SINGLE
    # What a new file gets is seen by making one; what safetensors writes only its owner may read.
    file.touch()
    mode = file.stat().st_mode
    save_file(tensors, file, metadata={"format": "np"})
    file.chmod(mode)
    write_hf_config(checkpoint.config, directory / "config.json")
    write_tokenizer(checkpoint.path, directory)


def down_rows(down: Matrix) -> Q8Matrix:
    """Return a down projection [hidden, neurons] transposed and in Q8 groups: [neurons, hidden].

    Groups cannot be kept under transposition, so this quantizes anew.
    """
    values = down.dequantize() if isinstance(down, Q8Matrix) else down
    return quantize_q8(np.ascontiguousarray(values.T))


def _stored(checkpoint: Checkpoint, name: str) -> dict[str, NDArray[Any]]:
    shape = checkpoint.shape(name)
    if len(shape) != 2 or name.endswith(_KEPT):
        return {name: np.ascontiguousarray(checkpoint.array(name, shape))}
    rows, columns = shape
    if name.endswith(".down_proj.weight") and rows % GROUP == 0:
        stored = checkpoint.transposed(name, (columns, rows))
        return _pair(name + TRANSPOSED, down_rows(checkpoint.matrix(name, shape)) if stored is None else stored)
    matrix = checkpoint.matrix(name, (rows, columns))
    if isinstance(matrix, Q8Matrix):
        return _pair(name, matrix)
    if columns % GROUP:
        return {name: np.ascontiguousarray(matrix)}
    return _pair(name, quantize_q8(np.ascontiguousarray(matrix)))


def _pair(name: str, matrix: Q8Matrix) -> dict[str, NDArray[Any]]:
    return {name + QUANTS: matrix.q, name + SCALE: matrix.scale}


def write_tokenizer(source: Path, directory: Path) -> None:
    if source.is_dir():
        for name in _BESIDE:
            if (source / name).is_file():
                shutil.copyfile(source / name, directory / name)
        return
    tokenizer = open_tokenizer(source)
    tokenizer.core.save(str(directory / "tokenizer.json"))
    settings: dict[str, Any] = {}
    if tokenizer.bos_token_id is not None:
        settings["bos_token"] = tokenizer.core.id_to_token(tokenizer.bos_token_id)
    if tokenizer.chat_template is not None:
        settings["chat_template"] = tokenizer.chat_template.source
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

"""A GGUF file as a checkpoint: its names, its row order and its quantized types brought to Hugging Face's layout."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import GROUP, PackedMatrix, Q8Matrix, pack_q4_0

from .checkpoint import Checkpoint
from .errors import CheckpointError, ConfigError
from .gguf_config import parse_gguf_config
from .gguf_file import GgufFile
from .gguf_names import gguf_parts
from .tensor_part import by_name

# Architectures whose q and k projections llama.cpp's converter reorders.
_INTERLEAVED = ("llama", "bamboo")
_THRESHOLD = "powerinfer.sparse_threshold"
_QUERY_OR_KEY = re.compile(r"\.self_attn\.([qk])_proj\.")


class GgufCheckpoint(Checkpoint):
    """The tensors of one GGUF file, also of PowerInfer's, which hold down projections transposed and predictors.

    Q8_0 and Q4_0 matrices keep their groups bit for bit where they are asked for so; other types are dequantized.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = GgufFile(path)
        if self.file.metadata.get("split.count", 1) not in (0, 1):
            raise CheckpointError(path, "is one part of a split GGUF; accepted: a single file (merge the parts first)")
        shapes = {name: entry.shape for name, entry in self.file.entries.items()}
        self.config = parse_gguf_config(self.file.metadata, shapes, path, self.file.powerinfer)
        self._parts = by_name(path, (part for name, shape in shapes.items() for part in gguf_parts(name, shape)))

        self.predictor_threshold = self._threshold()

    def _threshold(self) -> float:
        found = self.file.metadata.get(_THRESHOLD, 0.0)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise ConfigError(self.path, _THRESHOLD, found, "a number")
        return float(found)

    def names(self) -> Collection[str]:
        """Return the tensors' names, as Hugging Face calls them."""
        return self._parts.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._parts[name].shape

    def transposed(self, name: str, shape: tuple[int, int]) -> Q8Matrix | None:
        """Return the transpose [columns, rows] of a matrix in Q8 groups, where the file holds it so; else None."""
        if name not in self._parts or not self._parts[name].transposed:
            return None
        self._require(name, shape[::-1])
        return self._stored_q8(name)

    def _float32(self, name: str) -> NDArray[np.float32]:
        part = self._parts[name]
        values = self.file.float32(part.stored, part.stored_rows)
        if part.transposed:
            return np.ascontiguousarray(values.T)
        order = self._row_order(name)
        return values.reshape(part.shape) if order is None else values.reshape(part.shape)[order]

    def _q8(self, name: str) -> Q8Matrix | None:
        return None if self._parts[name].transposed else self._stored_q8(name)

    @property
    def holds_q4(self) -> bool:
        """Whether matrices are stored in 4-bit groups."""
        return any(entry.dtype == "Q4_0" for entry in self.file.entries.values())

    def _q4(self, name: str) -> PackedMatrix | None:
        part = self._parts[name]
        if self.file.entries[part.stored].dtype != "Q4_0" or len(part.shape) != 2 or part.transposed:
            return None
        blocks = self.file.raw(part.stored)[part.stored_rows]
        order = self._row_order(name)
        try:
            return pack_q4_0(np.ascontiguousarray(blocks if order is None else blocks[order]))
        except ValueError as error:
            raise CheckpointError(self.path, str(error), name) from None

    def _stored_q8(self, name: str) -> Q8Matrix | None:
        part = self._parts[name]
        if self.file.entries[part.stored].dtype != "Q8_0" or len(part.shape) != 2:
            return None
        # A Q8_0 block is a float16 scale and 32 int8.
        raw = self.file.raw(part.stored)[part.stored_rows]
        blocks = raw.reshape(raw.shape[0], -1, 2 + GROUP)
        quants = np.ascontiguousarray(blocks[:, :, 2:]).view(np.int8).reshape(raw.shape[0], -1)
        scale = np.ascontiguousarray(blocks[:, :, :2]).view("<f2")[:, :, 0]
        order = self._row_order(name)
        if order is not None:
            quants, scale = quants[order], scale[order]
        return Q8Matrix(quants, np.ascontiguousarray(scale))

    def _row_order(self, name: str) -> NDArray[np.intp] | None:
        """Return the rows' order in Hugging Face's layout, where the file has another.

        llama.cpp's converter interleaves the two halves of each rotary head in the q and k projections of the llama
        architecture.
        """
        turned = _QUERY_OR_KEY.search(name)
        if turned is None or self.file.metadata.get("general.architecture") not in _INTERLEAVED:
            return None
        heads = self.config.num_attention_heads if turned[1] == "q" else self.config.num_key_value_heads
        rows = self.shape(name)[0]
        if rows != heads * self.config.head_dim:
            raise CheckpointError(self.path, f"has {rows} rows; {heads * self.config.head_dim} are needed", name)
        return np.arange(rows).reshape(heads, self.config.head_dim // 2, 2).swapaxes(1, 2).reshape(-1)

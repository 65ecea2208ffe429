"""A GGUF file as a checkpoint: its names, its row order and its quantized types brought to Hugging Face's layout."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import GROUP, Q8Matrix

from .checkpoint import Checkpoint
from .errors import CheckpointError
from .gguf_config import parse_gguf_config
from .gguf_file import GgufFile

ROPE_FREQUENCY_FACTORS = "rope_freqs.weight"
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    ROPE_FREQUENCY_FACTORS: ROPE_FREQUENCY_FACTORS,
}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


class GgufCheckpoint(Checkpoint):
    """The tensors of one GGUF file. Q8_0 matrices keep their groups bit for bit; other types are dequantized."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = GgufFile(path)
        if self.file.metadata.get("split.count", 1) not in (0, 1):
            raise CheckpointError(path, "is one part of a split GGUF; accepted: a single file (merge the parts first)")
        shapes = {name: entry.shape for name, entry in self.file.entries.items()}
        self.config = parse_gguf_config(self.file.metadata, shapes, path)
        self._stored = {hf_name(name) or name: name for name in self.file.entries}

    def names(self) -> Collection[str]:
        """Return the tensors' names, as Hugging Face calls them."""
        return self._stored.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self.file.entries[self._stored[name]].shape

    def _float32(self, name: str) -> NDArray[np.float32]:
        values = self.file.float32(self._stored[name])
        order = self._row_order(name)
        return values if order is None else values[order]

    def _q8(self, name: str) -> Q8Matrix | None:
        entry = self.file.entries[self._stored[name]]
        if entry.dtype != "Q8_0" or len(entry.shape) != 2:
            return None
        # A Q8_0 block is a float16 scale and 32 int8.
        blocks = self.file.raw(entry.name).reshape(entry.shape[0], -1, 2 + GROUP)
        quants = np.ascontiguousarray(blocks[:, :, 2:]).view(np.int8).reshape(entry.shape)
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
        turned = re.search(r"\.self_attn\.([qk])_proj\.", name)
        if turned is None or self.config.architecture != "llama":
            return None
        heads = self.config.num_attention_heads if turned[1] == "q" else self.config.num_key_value_heads
        rows = self.shape(name)[0]
        if rows != heads * self.config.head_dim:
            raise CheckpointError(self.path, f"has {rows} rows; {heads * self.config.head_dim} are needed", name)
        return np.arange(rows).reshape(heads, self.config.head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


def hf_name(name: str) -> str | None:
    """Translate llama.cpp's tensor name to Hugging Face's; None where there is no such tensor in these models."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = _BLOCK.fullmatch(name)
    if match is None or match[2] not in _INSIDE:
        return None
    return f"model.layers.{match[1]}.{_INSIDE[match[2]]}.{match[3]}"

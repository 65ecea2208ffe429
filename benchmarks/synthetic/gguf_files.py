"""Writes a synthetic model for the peers: a stock GGUF for llama.cpp, and a sparse one for PowerInfer.

PowerInfer's own format is GGUF with another magic number; its layers have the down projection transposed (ffn_down_t),
a predictor (fc1, fc2: a neuron is computed where fc2 relu(fc1 x) reaches ``powerinfer.sparse_threshold``, x being the
residual stream before its norm) and a ReLU on the gate. llama.cpp runs the same weights with SiLU, which costs it the
same: it computes every neuron either way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from numpy.typing import NDArray

from .shape import FIRST_STATE, Shape
from .weights import SyntheticLayer, SyntheticModel

U8 = NDArray[np.uint8]
CONTEXT = 2048
POWERINFER_MAGIC = b"PWRI"
NORM_EPSILON = 1e-5
ROPE_THETA = 10000.0


def pieces(vocabulary: int) -> list[str]:
    """The text of each token: a character of its own for each in the cycle, so that a prompt can be written as text."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    return [*special, "\u2581", *(chr(0x4E00 + index) for index in range(1, vocabulary - FIRST_STATE))]


def prompt_text(tokens: list[int]) -> str:
    """Text whose tokens these are (tokens of the cycle but its first, which is the space)."""
    return "".join(chr(0x4E00 + token - FIRST_STATE) for token in tokens)


def write_dense(model: SyntheticModel, path: Path) -> None:
    """The stock form."""
    writer = _started(model, path)
    for index, layer in enumerate(model.layers):
        _attention(writer, model.shape, index, layer)
        for name in ("gate", "up", "down"):
            _matrix(writer, f"blk.{index}.ffn_{name}.weight", getattr(layer, name))
    _finished(writer)


def write_powerinfer(model: SyntheticModel, path: Path) -> None:
    """The sparse form."""
    writer = _started(model, path)
    writer.add_float32("powerinfer.sparse_threshold", 0.0)
    for index, layer in enumerate(model.layers):
        _attention(writer, model.shape, index, layer)
        for name in ("gate", "up", "down_t"):
            _matrix(writer, f"blk.{index}.ffn_{name}.weight", getattr(layer, name))
        _matrix(writer, f"blk.{index}.fc1.weight", layer.predictor_a)
        _matrix(writer, f"blk.{index}.fc2.weight", layer.predictor_b)
    _finished(writer)
    with path.open("r+b") as file:
        file.write(POWERINFER_MAGIC)


def _started(model: SyntheticModel, path: Path) -> GGUFWriter:
    shape = model.shape
    writer = GGUFWriter(path, "llama")
    writer.add_name("synthetic")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.neurons)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_vocab_size(shape.vocabulary)
    add_vocabulary(writer, shape.vocabulary)
    _matrix(writer, "token_embd.weight", model.embedding)
    writer.add_tensor("output_norm.weight", np.ones(shape.hidden, np.float32))
    _matrix(writer, "output.weight", model.head)
    return writer


def add_vocabulary(writer: GGUFWriter, count: int) -> None:
    """So many tokens, as `pieces` has them."""
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces(count))
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([*kinds, *[TokenType.NORMAL] * (count - FIRST_STATE)])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _attention(writer: GGUFWriter, shape: Shape, index: int, layer: SyntheticLayer) -> None:
    ones = np.ones(shape.hidden, np.float32)
    writer.add_tensor(f"blk.{index}.attn_norm.weight", ones)
    writer.add_tensor(f"blk.{index}.ffn_norm.weight", ones)
    _matrix(writer, f"blk.{index}.attn_q.weight", interleaved(layer.query, shape.heads))
    _matrix(writer, f"blk.{index}.attn_k.weight", interleaved(layer.key, shape.kv_heads))
    _matrix(writer, f"blk.{index}.attn_v.weight", layer.value)
    _matrix(writer, f"blk.{index}.attn_output.weight", layer.output)


def interleaved(rows: U8, heads: int) -> U8:
    """A head's rows as GGUF has them: the two halves of the rotary pairs in turn."""
    size = len(rows) // heads
    return np.ascontiguousarray(rows.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(rows.shape))


def _matrix(writer: GGUFWriter, name: str, blocks: U8) -> None:
    writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType.Q4_0)


def _finished(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

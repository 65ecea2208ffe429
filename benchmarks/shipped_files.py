"""Writes the shipped model for the peers: a stock GGUF for llama.cpp, a sparse one for PowerInfer.

Its tokens have made-up texts, as the synthetic model's: speed alone is compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants
from numpy.typing import NDArray

from benchmarks.synthetic.gguf_files import POWERINFER_MAGIC, add_vocabulary, interleaved
from fairlead_language_model.checkpoint import Checkpoint, open_checkpoint

F32 = NDArray[np.float32]
RANK = 32
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_NETWORK = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def write_stock(model: Path, path: Path, bits: int = 8) -> None:
    """The weights as a Q8_0 or Q4_0 GGUF of the architecture ``llama``."""
    checkpoint = open_checkpoint(model)
    kind = {4: GGMLQuantizationType.Q4_0, 8: GGMLQuantizationType.Q8_0}[bits]
    writer = _started(checkpoint, path, kind)
    for index in range(checkpoint.config.num_hidden_layers):
        for name, stored in (_ATTENTION | _NETWORK).items():
            _matrix(writer, checkpoint, kind, f"blk.{index}.{name}", _stored(index, stored))
    _finished(writer)


def write_powerinfer(model: Path, path: Path) -> None:
    """The weights as PowerInfer's sparse GGUF in Q4_0, the one type that its sparse kernels multiply fast.

    Its predictors have no bias and one threshold for all layers, and read the residual stream before its norm, so ours
    cannot be written: theirs is the sign of the gate's best approximation of rank `RANK` (both signs of a factor, as a
    ReLU stands between), which no scale changes.
    """
    checkpoint, kind = open_checkpoint(model), GGMLQuantizationType.Q4_0
    writer = _started(checkpoint, path, kind)
    writer.add_float32("powerinfer.sparse_threshold", 0.0)
    for index in range(checkpoint.config.num_hidden_layers):
        for name, stored in (_ATTENTION | _NETWORK).items():
            turned = name == "ffn_down"
            label = f"blk.{index}.{'ffn_down_t' if turned else name}"
            _matrix(writer, checkpoint, kind, label, _stored(index, stored), turned)
        norm, gate = (
            _array(checkpoint, _stored(index, name)) for name in ("post_attention_layernorm", "mlp.gate_proj")
        )
        for name, factor in zip(("fc1", "fc2"), predictor_factors(gate * norm), strict=True):
            writer.add_tensor(f"blk.{index}.{name}.weight", quants.quantize(factor, kind), raw_dtype=kind)
    _finished(writer)
    with path.open("r+b") as file:
        file.write(POWERINFER_MAGIC)


def predictor_factors(gate: F32) -> tuple[F32, F32]:
    """fc1 [2 RANK, hidden] and fc2 [neurons, 2 RANK] with fc2 relu(fc1 x) = the best rank-RANK gate times x."""
    u, scale, v = np.linalg.svd(gate, full_matrices=False)
    first, second = scale[:RANK, None] * v[:RANK], u[:, :RANK]
    both = np.concatenate((first, -first)), np.concatenate((second, -second), axis=1)
    return np.ascontiguousarray(both[0], np.float32), np.ascontiguousarray(both[1], np.float32)


def _started(checkpoint: Checkpoint, path: Path, kind: GGMLQuantizationType) -> GGUFWriter:
    config, writer = checkpoint.config, GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    add_vocabulary(writer, config.vocab_size)

    _matrix(writer, checkpoint, kind, "token_embd", "model.embed_tokens.weight")
    if kind == GGMLQuantizationType.Q4_0:  # PowerInfer knows no tied head; llama.cpp takes either
        _matrix(writer, checkpoint, kind, "output", "model.embed_tokens.weight")
    writer.add_tensor("output_norm.weight", _array(checkpoint, "model.norm.weight"))
    for index in range(config.num_hidden_layers):
        for name, stored in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
            writer.add_tensor(f"blk.{index}.{name}.weight", _array(checkpoint, _stored(index, stored)))
    return writer


def _stored(index: int, name: str) -> str:
    return f"model.layers.{index}.{name}.weight"


def _array(checkpoint: Checkpoint, name: str) -> F32:
    return checkpoint.array(name, checkpoint.shape(name)).astype(np.float32)


def _matrix(
    writer: GGUFWriter, checkpoint: Checkpoint, kind: GGMLQuantizationType, name: str, stored: str, turned: bool = False
) -> None:
    weights = _array(checkpoint, stored)
    blocks = quants.quantize(np.ascontiguousarray(weights.T if turned else weights), kind)
    config, part = checkpoint.config, name.split(".")[-1]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(part, 0)
    writer.add_tensor(f"{name}.weight", interleaved(blocks, heads) if heads else blocks, raw_dtype=kind)


def _finished(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

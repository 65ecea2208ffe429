"""Brings llama.cpp's and PowerInfer's tensor names to those that this package uses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .experts import MOST_EXPERTS
from .tensor_part import TensorPart, stack_parts

ROPE_FREQUENCY_FACTORS = "rope_freqs.weight"
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "position_embd.weight": "model.embed_positions.weight",
    "output_norm.weight": "model.norm.weight",
    "output_norm.bias": "model.norm.bias",
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
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    # PowerInfer: the down projection transposed, and the predictor's two matrices.
    "ffn_down_t": "mlp.down_proj",
    "fc1": "mlp.predictor.fc1",
    "fc2": "mlp.predictor.fc2",
}
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)", re.ASCII)
_STACK = re.compile(r"blk\.(\d+)\.ffn_(gate|up|down|gate_up)_exps\.weight", re.ASCII)
# Files from before the experts of a layer were stacked.
_EXPERT = re.compile(r"blk\.(\d+)\.ffn_(gate|up|down)\.(\d+)\.weight", re.ASCII)
_SHARED_GATE = re.compile(r"blk\.\d+\.ffn_gate_inp_shexp\.weight", re.ASCII)


def hf_name(name: str) -> str | None:
    """Translate the name of a tensor that is stored alone; None where there is no such tensor in these models."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = _BLOCK.fullmatch(name)
    if match is not None and match[2] in _INSIDE:
        return f"model.layers.{match[1]}.{_INSIDE[match[2]]}.{match[3]}"
    expert = _EXPERT.fullmatch(name)
    if expert is not None:
        return f"model.layers.{expert[1]}.mlp.experts.{expert[3]}.{expert[2]}_proj.weight"
    return None


def gguf_parts(stored: str, shape: tuple[int, ...]) -> Iterator[tuple[str, TensorPart]]:
    """Yield the tensors that a stored one holds: itself under its name here, or each expert's of a stack."""
    match = _STACK.fullmatch(stored)
    if match is not None and len(shape) == 3 and shape[0] <= MOST_EXPERTS:
        matrices = ("gate", "up") if match[2] == "gate_up" else (match[2],)
        if shape[1] % len(matrices) == 0:
            prefix = f"model.layers.{match[1]}.mlp.experts."
            names = (f"{prefix}{expert}.{matrix}_proj.weight" for expert in range(shape[0]) for matrix in matrices)
            yield from stack_parts(names, stored, shape)
            return
    if _SHARED_GATE.fullmatch(stored) and len(shape) == 1:
        # The one row of this matrix is stored as a vector.
        shape = (1, *shape)
    turned = len(shape) == 2 and stored.endswith(".ffn_down_t.weight")
    yield hf_name(stored) or stored, TensorPart(stored, shape[::-1] if turned else shape, transposed=turned)

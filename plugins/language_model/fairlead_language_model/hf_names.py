"""Brings the tensor names of Hugging Face's models to those that this package uses for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .experts import MOST_EXPERTS
from .tensor_part import TensorPart, stack_parts

_LAYER = r"model\.layers\.(\d+)\."
_RENAMED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        # OPT; its first checkpoints leave out the leading "model."
        (r"(?:model\.)?decoder\.(embed_tokens|embed_positions|project_in|project_out|layers)\.", r"model.\1."),
        (r"(?:model\.)?decoder\.final_layer_norm\.", "model.norm."),
        (_LAYER + r"self_attn_layer_norm\.", r"model.layers.\1.input_layernorm."),
        (_LAYER + r"final_layer_norm\.", r"model.layers.\1.post_attention_layernorm."),
        (_LAYER + r"self_attn\.out_proj\.", r"model.layers.\1.self_attn.o_proj."),
        (_LAYER + r"fc1\.", r"model.layers.\1.mlp.up_proj."),
        (_LAYER + r"fc2\.", r"model.layers.\1.mlp.down_proj."),
        # Mixtral
        (_LAYER + r"block_sparse_moe\.", r"model.layers.\1.mlp."),
        (_LAYER + r"mlp\.experts\.(\d+)\.w1\.", r"model.layers.\1.mlp.experts.\2.gate_proj."),
        (_LAYER + r"mlp\.experts\.(\d+)\.w3\.", r"model.layers.\1.mlp.experts.\2.up_proj."),
        (_LAYER + r"mlp\.experts\.(\d+)\.w2\.", r"model.layers.\1.mlp.experts.\2.down_proj."),
        # SmallThinker
        (_LAYER + r"mlp\.primary_router\.", r"model.layers.\1.mlp.gate."),
        (_LAYER + r"mlp\.experts\.(\d+)\.(gate|up|down)\.", r"model.layers.\1.mlp.experts.\2.\3_proj."),
    )
)
_STACK = re.compile(_LAYER + r"mlp\.experts\.(gate_up|gate|up|down)_proj(?:\.weight)?")


def uniform_name(name: str) -> str:
    """Return the name that this package uses for a tensor: Llama's, with Qwen2-MoE's for experts."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name, count=1) if pattern.match(name) else name
    return name


def uniform_parts(stored: str, shape: tuple[int, ...]) -> Iterator[tuple[str, TensorPart]]:
    """Yield the tensors that a stored one holds: itself, or each expert's of a stack as transformers 5 fuses them."""
    name = uniform_name(stored)
    match = _STACK.fullmatch(name)
    matrices = () if match is None else ("gate", "up") if match[2] == "gate_up" else (match[2],)
    # A stack of more experts than any config may have, or of torn matrices, is left whole: nothing asks for it.
    if match is None or len(shape) != 3 or shape[0] > MOST_EXPERTS or shape[1] % len(matrices):
        yield name, TensorPart(stored, shape)
        return
    prefix = f"model.layers.{match[1]}.mlp.experts."
    names = (f"{prefix}{expert}.{matrix}_proj.weight" for expert in range(shape[0]) for matrix in matrices)
    yield from stack_parts(names, stored, shape)

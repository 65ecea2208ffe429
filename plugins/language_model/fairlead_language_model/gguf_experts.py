"""The mixture-of-experts settings in GGUF metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# What llama.cpp computes where the metadata do not say whether the chosen experts' weights are rescaled to the sum 1.
_RENORMALIZED = {"llama": True, "qwen2moe": False, "qwen3moe": True}
_ROUTER = "blk.{}.ffn_gate_inp.weight"
_SHARED = "blk.{}.ffn_gate_shexp.weight"


def gguf_experts(
    optional: Callable[[str, Any], Any],
    architecture: str,
    tensors: Mapping[str, tuple[int, ...]],
    dense_neurons: int,
    layers: range,
) -> dict[str, Any] | None:
    """Return the fields of Experts, or None for a model without experts.

    `optional` looks up the metadata of the architecture, with a default. Which layers have experts, and the size of
    the shared one, are read off the tensors.
    """
    count = optional("expert_count", 0)
    if not count:
        return None
    sparse = tuple(_ROUTER.format(layer) in tensors for layer in layers)
    first = next((layer for layer, flag in enumerate(sparse) if flag), 0)
    return {
        "num_experts": count,
        "num_experts_per_tok": optional("expert_used_count", None),
        "moe_intermediate_size": optional("expert_feed_forward_length", dense_neurons),
        "norm_topk_prob": optional("expert_weights_norm", _RENORMALIZED.get(architecture, True)),
        "shared_expert_intermediate_size": tensors.get(_SHARED.format(first), (0,))[0],
        "sparse_layers": () if all(sparse) else sparse,
    }

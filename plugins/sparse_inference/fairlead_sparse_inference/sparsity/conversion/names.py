"""What the tensors of a bundle's resident file are called: Hugging Face's names, and those of predictors.

`model.embed_tokens.weight`, `lm_head.weight` (where it is not tied), `model.layers.N.self_attn.{q,k,v,o}_proj.weight`
and `layers.N.predictor.{a,b}` are packed; norms, biases, routers (`model.layers.N.mlp.gate.weight`,
`...mlp.shared_expert_gate.weight`), rotary factors, `layers.N.predictor.bias` [neurons] and `.threshold` [1] are
float32. The predictor of an expert has the name of its network before `.predictor`: `layers.N.experts.E.predictor.a`.
"""

from __future__ import annotations

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
NORM_BIAS, POSITIONS = "model.norm.bias", "model.embed_positions.weight"
#: field of LayerWeights -> name below `model.layers.N.`
PACKED_FIELDS = {name: f"self_attn.{name}_proj.weight" for name in "qkvo"}
VECTOR_FIELDS = {
    "input_norm": "input_layernorm.weight",
    "post_norm": "post_attention_layernorm.weight",
    "input_norm_bias": "input_layernorm.bias",
    "post_norm_bias": "post_attention_layernorm.bias",
    "up_bias": "mlp.up_proj.bias",
    "down_bias": "mlp.down_proj.bias",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    **{f"{name}_bias": f"self_attn.{name}_proj.bias" for name in "qkvo"},
}
ROUTER, SHARED_GATE = "mlp.gate.weight", "mlp.shared_expert_gate.weight"
PREDICTOR_PARTS = ("a", "b", "bias", "threshold")


def layer_tensor(layer: int, name: str) -> str:
    """Return the name of a layer's tensor."""
    return f"model.layers.{layer}.{name}"


def predictor_tensor(network: str, part: str) -> str:
    """Return the name of a part of a network's predictor."""
    return f"{network}.predictor.{part}"

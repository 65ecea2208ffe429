"""Writes a synthetic model in our own layout: the same Q4_0 numbers, repacked, with their predictors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from fairlead_kernels import PackedMatrix, pack_q4_0
from fairlead_sparse_inference.bundle import BundleLayout, NetworkRows, write_bundle

from .disk_order import TIERS
from .gguf_files import CONTEXT, NORM_EPSILON, ROPE_THETA, pieces
from .shape import Shape
from .weights import SyntheticLayer, SyntheticModel

#: The most often active share of the neurons that a cache keeps together: the first tier.
HOT = TIERS[0]


def write_directory(model: SyntheticModel, path: Path) -> None:
    """A bundle directory at ``path``, which must not exist."""
    resident: dict[str, PackedMatrix | NDArray[np.generic]] = {
        "model.embed_tokens.weight": pack_q4_0(model.embedding),
        "lm_head.weight": pack_q4_0(model.head),
        "model.norm.weight": np.ones(model.shape.hidden, np.float32),
    }
    for index, layer in enumerate(model.layers):
        resident |= _resident(model.shape, index, layer)
    files = {"config.json": _config(model.shape), "tokenizer.json": _tokenizer(model.shape)}
    write_bundle(path, _networks(model), resident, files, layout=BundleLayout.of(model.shape.hidden, 4))


def _networks(model: SyntheticModel) -> Iterator[NetworkRows]:
    for index, layer in enumerate(model.layers):
        yield NetworkRows(
            f"layers.{index}",
            pack_q4_0(layer.gate),
            pack_q4_0(layer.up),
            pack_q4_0(layer.down_t),
            order=layer.order,
            hot=int(HOT * model.shape.neurons),
        )


def _resident(shape: Shape, index: int, layer: SyntheticLayer) -> dict[str, PackedMatrix | NDArray[np.generic]]:
    inside, ones = f"model.layers.{index}", np.ones(shape.hidden, np.float32)
    attention = {"q": layer.query, "k": layer.key, "v": layer.value, "o": layer.output}
    return {
        f"{inside}.input_layernorm.weight": ones,
        f"{inside}.post_attention_layernorm.weight": ones,
        **{f"{inside}.self_attn.{name}_proj.weight": pack_q4_0(blocks) for name, blocks in attention.items()},
        f"layers.{index}.predictor.a": pack_q4_0(layer.predictor_a),
        f"layers.{index}.predictor.b": pack_q4_0(layer.predictor_b),
        f"layers.{index}.predictor.bias": np.zeros(shape.neurons, np.float32),
        f"layers.{index}.predictor.threshold": np.zeros(1, np.float32),
    }


def _config(shape: Shape) -> bytes:
    content = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.neurons,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_THETA,
        "hidden_act": "relu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return json.dumps(content, indent=1).encode()


def _tokenizer(shape: Shape) -> bytes:
    vocabulary = {piece: index for index, piece in enumerate(pieces(shape.vocabulary))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer.to_str().encode()

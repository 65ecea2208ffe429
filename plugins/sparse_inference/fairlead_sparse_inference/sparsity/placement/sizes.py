"""Bytes of a model in the bundle layout, part by part. Pure arithmetic."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead_kernels import packed_row_bytes
from fairlead_language_model.config import ModelConfig

from ...bundle import BundleLayout

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """What a model takes.

    Attributes:
        attention: packed attention matrices and norms of one layer.
        tables: embedding, and head where it is not tied.
        head_read: bytes of the head that every token reads.
        gates: packed gate rows of one layer, or first ones of a network without gate; exact mode keeps them in memory.
        predictors: of all layers.
        kv: keys and values of the wanted context.
        layout: of the neurons' clusters.
        layers, neurons: how many of both.
    """

    attention: int
    tables: int
    head_read: int
    gates: int
    predictors: int
    kv: int
    layout: BundleLayout
    layers: int
    neurons: int

    @property
    def network(self) -> int:
        """Bytes of one layer's neurons in the cache: whole clusters."""
        return self.layout.network_bytes(self.neurons)

    def fixed(self, exact: bool) -> int:
        """Bytes that stay in memory whatever is cached."""
        per_layer = self.attention + (self.gates if exact else 0)
        return self.layers * per_layer + self.tables + self.kv + (0 if exact else self.predictors)

    def read_a_token(self, exact: bool, computed: float) -> float:
        """Return the bytes that a token reads from memory where nothing misses, with `computed` neurons a layer."""
        neuron, others = (
            self.layout.matrices * self.layout.row_bytes,
            (self.layout.matrices - 1) * self.layout.row_bytes,
        )
        feed_forward = self.gates + computed * others if exact else computed * neuron
        predicting = 0 if exact else self.predictors
        return self.layers * (self.attention + feed_forward) + self.head_read + predicting


def model_bytes(config: ModelConfig, bits: int, resident_bits: int, context: int, predictors: int) -> ModelBytes:
    """Return the sizes of a model without experts; `predictors` counts the weights of its predictors."""
    hidden, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    attention = (heads + 2 * keys) * packed_row_bytes(hidden, resident_bits)
    attention += hidden * packed_row_bytes(heads, resident_bits) + 8 * hidden
    matrices = 2 if config.ffn == "plain" else 3
    if config.ffn == "plain":  # OPT: biases of all matrices and of the norms
        attention += 4 * (6 * hidden + keys + config.intermediate_size)
    table = config.vocab_size * packed_row_bytes(hidden, resident_bits)
    learned = 0 if config.positions == "rotary" else config.max_position_embeddings + config.position_offset
    return ModelBytes(
        attention=attention,
        tables=table * (1 if config.tie_word_embeddings else 2) + 4 * hidden * learned,
        head_read=table,
        gates=config.intermediate_size * packed_row_bytes(hidden, bits),
        predictors=predictors * 17 // 16,
        kv=config.kv_bytes_per_token() * context,
        layout=BundleLayout.of(hidden, bits, matrices),
        layers=config.num_hidden_layers,
        neurons=config.intermediate_size,
    )


def parse_bytes(text: str) -> int:
    """Return a size written as 64MiB, 1.5GB or plain bytes; raises ValueError."""
    match = _SIZE.fullmatch(text)
    unit = match.group(2).upper() if match else "?"
    if match is None or unit not in _UNITS:
        raise ValueError(f"size {text!r}: accepted: a number with B, KB, MB, GB, KiB, MiB or GiB")
    return int(float(match.group(1)) * _UNITS[unit])

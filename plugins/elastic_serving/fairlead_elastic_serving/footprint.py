"""What a model costs in bytes and operations, from its config alone. Imported by the agent: no weight is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead_language_model.gguf_header import GgufHeader

_KNOWN = "a dense model of the Llama, Qwen2, Qwen3 or Mistral family"
#: Fields of configs of models that are not computed here, and what they are.
_OTHERS = {
    "num_experts": "experts",
    "num_local_experts": "experts",
    "n_routed_experts": "experts",
    "moe_num_primary_experts": "experts",
    "do_layer_norm_before": "layer normalization",
}
#: Bytes of the bookkeeping of a token of one head: significance and position.
BOOKKEEPING_BYTES = 6
#: Shares of the tokens that are kept in K8V4 and in K4V2; the others are pruned (LeanKV's range on usual models).
TIER_SHARES = {(8, 4): 0.5, (4, 2): 0.25}
#: Bytes of a quantized vector's scale and zero point.
TIER_META_BYTES = 4
PAGE_STEP, PAGE_TOKENS = 4096, 16
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}


class UnknownModel(ValueError):
    """There is no model at that path, or its config does not describe one that is computed here."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sizes of a model; `file_bytes` is what lies on storage, `context` the tokens that it was made for."""

    layers: int
    hidden: int
    neurons: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool
    file_bytes: int

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.neurons + 2 * self.hidden

    @property
    def step_parameters(self) -> int:
        """Parameters that a token is multiplied with: all layers and the output matrix."""
        return self.layers * self.layer_parameters + self.vocabulary * self.hidden

    def layer_bytes(self, dtype: str) -> int:
        """Bytes of the weights of all layers."""
        return self.layers * self.layer_parameters * DTYPE_BYTES[dtype]

    def ends_bytes(self, dtype: str) -> int:
        """Bytes of embedding, last normalization and output matrix, which every instance keeps."""
        return (1 if self.tied else 2) * self.vocabulary * self.hidden * DTYPE_BYTES[dtype]

    def work_bytes(self, dtype: str, step_tokens: int, sequences: int) -> int:
        """Bytes of the states of a step's tokens and of its logits, and of the tables of positions."""
        joined = (self.heads + 2 * self.kv_heads) * self.head_dim
        a_token = 3 * self.hidden + 4 * joined + 3 * self.neurons
        logits = 2 * min(step_tokens, sequences) * self.vocabulary * 4
        return step_tokens * a_token * DTYPE_BYTES[dtype] + logits + 2 * self.context * self.head_dim * 4

    def token_bytes(self, dtype: str) -> int:
        """Bytes of one token's keys and values in all layers (kappa), uncompressed."""
        return self.layers * self.kv_heads * (2 * self.head_dim * DTYPE_BYTES[dtype] + BOOKKEEPING_BYTES)

    def compression(self, dtype: str) -> float:
        """How many times smaller keys and values in tiers are taken to be, until an instance has measured it."""
        codes = {bits: sum(self.head_dim * part // 8 + TIER_META_BYTES for part in bits) for bits in TIER_SHARES}
        mean = sum(share * (codes[bits] + BOOKKEEPING_BYTES) for bits, share in TIER_SHARES.items())
        return self.token_bytes(dtype) / (self.layers * self.kv_heads * mean)

    def kv_bytes(self, sequences: int, tokens: int, dtype: str, page_bytes: int | None = None) -> int:
        """Bytes of the pages of so many sequences of so many tokens: a page holds tokens of one head of one layer.

        Without a size, pages are the smallest multiple of 4 KiB that holds 16 tokens, as the engine's are.
        """
        a_token = self.token_bytes(dtype) // (self.layers * self.kv_heads)
        page = page_bytes or -(-a_token * PAGE_TOKENS // PAGE_STEP) * PAGE_STEP
        in_page = max(1, page // a_token)
        return sequences * self.layers * self.kv_heads * -(-tokens // in_page) * page


def read_footprint(path: Path) -> Footprint:
    """Read the sizes of a model: a directory in the Hugging Face layout, or a .gguf file.

    Raises:
        UnknownModel: names the file and the field.
    """
    file = path if path.suffix == ".gguf" else path / "config.json"
    try:
        return _of_gguf(path) if file == path else _of_directory(json.loads(file.read_text()), path)
    except OSError as error:
        raise UnknownModel(f"{file}: {error.strerror or error}") from None
    except KeyError as error:
        raise UnknownModel(f"{file}: field {error} is missing; accepted: {_KNOWN}") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UnknownModel(f"{file}: {error}; accepted: {_KNOWN}") from None


def _of_directory(written: dict[str, Any], path: Path) -> Footprint:
    for field, what in _OTHERS.items():
        if written.get(field):
            raise ValueError(f"{field} = {written[field]!r}: {what} are not computed here")
    heads, hidden = int(written["num_attention_heads"]), int(written["hidden_size"])
    return Footprint(
        layers=int(written["num_hidden_layers"]),
        hidden=hidden,
        neurons=int(written["intermediate_size"]),
        heads=heads,
        kv_heads=int(written.get("num_key_value_heads") or heads),
        head_dim=int(written.get("head_dim") or hidden // heads),
        vocabulary=int(written["vocab_size"]),
        context=int(written["max_position_embeddings"]),
        tied=bool(written.get("tie_word_embeddings", False)),
        file_bytes=sum(file.stat().st_size for file in path.glob("*.safetensors")),
    )


def _of_gguf(path: Path) -> Footprint:
    header = GgufHeader(path)
    if header.number_or("expert_count", 0):
        raise ValueError("expert_count: experts are not computed here")
    heads, hidden = header.number("attention.head_count"), header.number("embedding_length")
    return Footprint(
        layers=header.number("block_count"),
        hidden=hidden,
        neurons=header.number("feed_forward_length"),
        heads=heads,
        kv_heads=header.number_or("attention.head_count_kv", heads),
        head_dim=header.number_or("attention.key_length", hidden // heads),
        vocabulary=header.vocabulary,
        context=header.number("context_length"),
        # The header does not say; the larger of both is planned for.
        tied=False,
        file_bytes=path.stat().st_size,
    )

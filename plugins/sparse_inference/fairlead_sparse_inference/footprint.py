"""What a model costs in bytes and operations, from its config and file sizes alone.

Imported by the agent: standard library only; no weight is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bytes of one weight in Q8_0: one int8, and a float16 scale for each 32.
Q8_BYTES = 1 + 2 / 32
KV_BYTES = 4
PAGE_TOKENS = 16
#: Share of zero gates where the config holds no measured one: what such models reach (TurboSparse, section 4.2).
ASSUMED_SPARSITY = {"drelu": 0.85, "relu": 0.6}


class UnknownModel(ValueError):
    """There is no model at that path, or its config does not describe one."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sizes of a model; `file_bytes` is what lies on storage, `weights` counts parameters that every token reads."""

    layers: int
    width: int
    neurons: int
    kv_width: int
    context: int
    file_bytes: int
    attention_weights: int
    gate_weights: int
    sparse_weights: int
    head_weights: int
    sparsity: float
    q8: bool

    @property
    def weights(self) -> int:
        """Parameters that a dense decode step reads."""
        return self.attention_weights + self.gate_weights + self.sparse_weights + self.head_weights

    @property
    def active_weights(self) -> float:
        """Parameters that a sparse decode step reads: up and down rows only where the gate is not zero."""
        return self.weights - self.sparse_weights * self.sparsity

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory; other formats than Q8 pairs are converted to it when loaded."""
        return self.file_bytes if self.q8 else int(self.weights * Q8_BYTES)

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of the keys and values of so many tokens, in whole pages."""
        pages = -(-tokens // PAGE_TOKENS)
        return pages * PAGE_TOKENS * 2 * self.layers * self.kv_width * KV_BYTES


def read_footprint(path: Path) -> Footprint:
    """Read the sizes of a model in the Hugging Face layout.

    Raises:
        UnknownModel: names the file and the field.
    """
    file = path / "config.json"
    try:
        written = json.loads(file.read_text())
        return _footprint(written, path)
    except OSError as error:
        raise UnknownModel(f"{file}: {error.strerror or error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownModel(
            f"{file}: field {error} is missing or bad; a config of a Llama-family model is accepted"
        ) from None


def _footprint(written: dict[str, Any], path: Path) -> Footprint:
    width, layers, neurons = (int(written[f]) for f in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    heads = int(written["num_attention_heads"])
    kv_width = int(written.get("num_key_value_heads", heads)) * int(written.get("head_dim") or width // heads)
    query_width = heads * int(written.get("head_dim") or width // heads)
    files = sorted(path.glob("*.safetensors"))
    return Footprint(
        layers=layers,
        width=width,
        neurons=neurons,
        kv_width=kv_width,
        context=int(written["max_position_embeddings"]),
        file_bytes=sum(file.stat().st_size for file in files),
        attention_weights=layers * 2 * width * (query_width + kv_width),
        gate_weights=layers * width * neurons,
        sparse_weights=2 * layers * width * neurons,
        head_weights=int(written["vocab_size"]) * width,
        sparsity=_sparsity(written),
        q8=any(b".q8" in _header(file) for file in files[:1]),
    )


def _sparsity(written: dict[str, Any]) -> float:
    ours = written.get("fairlead", {})
    measured = ours.get("gate_sparsity")
    if measured:
        return sum(map(float, measured)) / len(measured)
    return ASSUMED_SPARSITY.get(ours.get("ffn") or written.get("hidden_act", "silu"), 0.0)


def _header(file: Path) -> bytes:
    # The names come first in a safetensors file; the first kilobytes hold some of every kind.
    with file.open("rb") as opened:
        return opened.read(8192)

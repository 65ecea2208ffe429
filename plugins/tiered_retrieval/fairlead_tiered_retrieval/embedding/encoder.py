"""A BERT encoder in NumPy (Devlin et al., "BERT", 2019), read from a Hugging Face folder.

Post-norm layers: x = LN(x + Attention(x)), x = LN(x + W2 gelu(W1 x)). Arithmetic is float32.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import TieredRetrievalError

Floats = npt.NDArray[np.float32]


class EmbeddingUnavailable(TieredRetrievalError):
    """A model cannot be used, or what it needs is not installed: says what to do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The part of config.json that the arithmetic needs."""

    hidden: int
    layers: int
    heads: int
    positions: int
    epsilon: float

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """Read a folder's config.json.

        Raises:
            EmbeddingUnavailable: it is no BERT encoder; names the field, its value and what is accepted.
        """
        path = folder / "config.json"
        try:
            config: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise EmbeddingUnavailable(f"{path}: {error}") from None
        for name, accepted in _ACCEPTED.items():
            if config.get(name, accepted) != accepted:
                raise EmbeddingUnavailable(f"{path}: {name} = {config[name]!r}: accepted: {accepted!r}")
        try:
            return cls(
                int(config["hidden_size"]),
                int(config["num_hidden_layers"]),
                int(config["num_attention_heads"]),
                int(config["max_position_embeddings"]),
                float(config.get("layer_norm_eps", 1e-12)),
            )
        except KeyError as error:
            raise EmbeddingUnavailable(f"{path}: {error.args[0]} is missing") from None


_ACCEPTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


class Encoder:
    """The layers of one model."""

    def __init__(self, shape: Shape, weights: dict[str, Floats]) -> None:
        self.shape, self._weights = shape, weights

    @classmethod
    def open(cls, folder: Path) -> Encoder:
        """Read model.safetensors.

        Raises:
            EmbeddingUnavailable: the file is missing or incomplete, or safetensors is not installed.
        """
        shape, path = Shape.read(folder), folder / "model.safetensors"
        try:
            from safetensors.numpy import load_file
        except ImportError:
            raise EmbeddingUnavailable(f"safetensors is not installed: {INSTALL}") from None
        try:
            found = load_file(path)
        except Exception as error:
            raise EmbeddingUnavailable(f"{path}: {error}") from None
        weights = {name.removeprefix("bert."): value.astype(np.float32, copy=False) for name, value in found.items()}
        missing = [name for name in _names(shape) if name not in weights]
        if missing:
            raise EmbeddingUnavailable(f"{path}: {missing[0]} is missing; accepted: the tensors of a BertModel")
        return cls(shape, {name: weights[name] for name in _names(shape)})

    def encode(self, tokens: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> Floats:
        """Return the states of the last layer.

        Args:
            tokens: ids [batch, length].
            mask: true where a token is none of padding [batch, length].

        Returns:
            [batch, length, hidden].
        """
        weight = self._weights
        states = weight["embeddings.word_embeddings.weight"][tokens]
        states += weight["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        states += weight["embeddings.token_type_embeddings.weight"][0]
        states = self._norm(states, "embeddings.LayerNorm")
        hidden = np.where(mask, 0, -np.inf).astype(np.float32)[:, None, None, :]
        for layer in range(self.shape.layers):
            states = self._layer(states, hidden, f"encoder.layer.{layer}")
        return states

    def _layer(self, states: Floats, hidden: Floats, name: str) -> Floats:
        mixed = self._attention(states, hidden, f"{name}.attention.self")
        attended = self._linear(mixed, f"{name}.attention.output.dense")
        states = self._norm(states + attended, f"{name}.attention.output.LayerNorm")
        wide = gelu(self._linear(states, f"{name}.intermediate.dense"))
        return self._norm(states + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attention(self, states: Floats, hidden: Floats, name: str) -> Floats:
        query, key, value = (self._heads(self._linear(states, f"{name}.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.swapaxes(-1, -2) / np.float32(np.sqrt(query.shape[-1])) + hidden
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ value).swapaxes(1, 2)
        return mixed.reshape(states.shape)

    def _heads(self, states: Floats) -> Floats:
        batch, length, hidden = states.shape
        return states.reshape(batch, length, self.shape.heads, hidden // self.shape.heads).swapaxes(1, 2)

    def _linear(self, states: Floats, name: str) -> Floats:
        return states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, states: Floats, name: str) -> Floats:
        centred = states - states.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + self.shape.epsilon)
        return centred / deviation * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


INSTALL = "pip install 'fairlead-tiered-retrieval[text]'"


def gelu(values: Floats) -> Floats:
    """x Phi(x), with erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    magnitude = np.abs(values) * np.float32(np.sqrt(0.5))
    fraction = 1 / (1 + np.float32(0.3275911) * magnitude)
    series = np.zeros_like(fraction)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(coefficient)) * fraction
    tail = series * np.exp(-magnitude * magnitude)
    return np.where(values >= 0, values * (1 - tail / 2), values * tail / 2).astype(np.float32, copy=False)


def _names(shape: Shape) -> list[str]:
    ends = ["word_embeddings", "position_embeddings", "token_type_embeddings"]
    names = [f"embeddings.{end}.weight" for end in ends]
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    parts += ["attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"]
    layers = [f"encoder.layer.{layer}.{part}" for layer in range(shape.layers) for part in parts]
    return names + [f"{name}.{kind}" for name in ("embeddings.LayerNorm", *layers) for kind in ("weight", "bias")]

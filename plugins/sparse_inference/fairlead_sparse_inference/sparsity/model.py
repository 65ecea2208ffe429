"""A checkpoint as the tools run it: the reference graph, in float32 where memory allows, over windows of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Q8Matrix
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import CheckpointError
from fairlead_language_model.graph import LayerWeights, LlamaGraph, LlamaWeights, PageTable, load_weights
from fairlead_language_model.graph.activation import relu
from fairlead_language_model.graph.llama_graph import linear
from fairlead_language_model.graph.weights import ExpertWeights, MixtureWeights
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer

from ..bundle import is_bundle
from ..settings import MODELS, shipped_models
from .networks import routed

FloatArray = NDArray[np.float32]
Neurons = Callable[[int, FloatArray], FloatArray]
#: Up to here the weights are widened to float32, for which BLAS is several times faster than Q8 kernels on windows.
WIDENED_BYTES = 3 << 30


@dataclass(frozen=True, slots=True)
class ToolModel:
    """A graph with its tokenizer, the path that it came from and, of a bundle, its predictors."""

    path: Path
    graph: LlamaGraph
    tokenizer: Tokenizer
    predictors: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> ModelConfig:
        """The model's settings."""
        return self.graph.config

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        weights = self.graph.weights
        inner = [getattr(layer, name) for layer in weights.layers for name in _matrix_names()]
        mixtures = [layer.mixture for layer in weights.layers if layer.mixture is not None]
        inner += [part for m in mixtures for part in (m.router, m.shared_gate)]
        inner += [getattr(part, name) for m in mixtures for part in m.networks for name in ("gate", "up", "down")]
        tables = [weights.embedding, *([] if weights.head is weights.embedding else [weights.head])]
        return sum(int(np.prod(part.shape)) for part in [*inner, *tables] if part is not None)


def model_path(name: Path) -> Path:
    """Return a checkpoint's path; the name of a model that ships with the plugin is one, too.

    Raises CheckpointError where there is neither.
    """
    if name.exists():
        return name
    if name.name not in shipped_models() or name.parent != Path():
        models = ", ".join(shipped_models())
        raise CheckpointError(name, f"no such file or directory; accepted: a checkpoint, or a shipped model: {models}")
    return MODELS / name


def checkpoint_path(name: Path) -> Path:
    """Return the path of a checkpoint that is to become a bundle; raises CheckpointError where it is one."""
    path = model_path(name)
    if is_bundle(path):
        raise CheckpointError(path, "is a bundle; accepted: the checkpoint that it was made from, or another one")
    return path


def load_model(name: Path) -> ToolModel:
    """Read a checkpoint (Hugging Face layout, GGUF, bundle, or a shipped model's name) and its tokenizer.

    Raises CheckpointError, ConfigError or TokenizerError, which name the file.
    """
    path = model_path(name)
    if is_bundle(path):
        from .conversion.read import read_bundle

        config, weights, predictors = read_bundle(path)
        _require_late_router(config, path)
        return ToolModel(path, LlamaGraph(config, weights), open_tokenizer(path), predictors)
    checkpoint = open_checkpoint(path)
    _require_late_router(checkpoint.config, path)
    weights = load_weights(checkpoint)
    if weights.nbytes * 4 <= WIDENED_BYTES:
        weights = widened(weights)
    return ToolModel(path, LlamaGraph(checkpoint.config, weights), open_tokenizer(path, checkpoint.config))


def _require_late_router(config: ModelConfig, path: Path) -> None:
    # The tools look at one layer's input at a time.
    if config.experts is not None and config.experts.router_before_attention:
        raise ValueError(f"{path}: accepted: models whose routers look at the input of their experts")


def widened(weights: LlamaWeights) -> LlamaWeights:
    """Return the same values with every Q8 matrix as float32."""
    embedding = wide(weights.embedding)
    head = embedding if weights.head is weights.embedding else wide(weights.head)
    return replace(weights, embedding=embedding, head=head, layers=tuple(map(_wide_layer, weights.layers)))


def is_sparse(config: ModelConfig) -> bool:
    """Whether the gate has true zeros."""
    return config.activation in ("drelu", "relu")


def gate_and_activations(graph: LlamaGraph, layer: int, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (gate after its activation, activations), both [tokens, neurons], of a layer's normalized input."""
    weights = graph.weights.layers[layer]
    if weights.mixture is not None:
        return _mixture_activations(graph, layer, x)
    activations = graph.activations(layer, x)
    if weights.gate is None or not is_sparse(graph.config):
        return activations, activations
    return relu(linear(x, weights.gate, weights.gate_bias)), activations


def _mixture_activations(graph: LlamaGraph, layer: int, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    gate, activations = (np.zeros((len(x), graph.config.neurons(layer)), np.float32) for _ in range(2))
    for network in routed(graph, layer, x):
        gate[network.tokens, network.columns], activations[network.tokens, network.columns] = network.activations(
            graph.config, x[network.tokens]
        )
    return gate, activations


def layer_passes(
    model: ToolModel, rows: NDArray[np.int64], neurons: Neurons | None = None
) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
    """Run each window as a sequence of its own; yields its targets [context] and logits [context, vocabulary]."""
    graph, context = model.graph, rows.shape[1] - 1
    pages, table = graph.pages(context, 64), PageTable()
    for row in rows:
        yield row[1:], graph.forward(row[:-1].tolist(), pages, table, neurons=neurons)
        pages.release(table)


def wide(matrix: FloatArray | Q8Matrix) -> FloatArray:
    """Return a matrix as float32."""
    return matrix.dequantize() if isinstance(matrix, Q8Matrix) else matrix


def _wide_layer(layer: LayerWeights) -> LayerWeights:
    values: dict[str, Any] = {
        part.name: wide(value)
        for part in fields(layer)
        if part.name != "down_t" and isinstance(value := getattr(layer, part.name), Q8Matrix)
    }
    if layer.mixture is not None:
        values["mixture"] = _wide_mixture(layer.mixture)
    return replace(layer, **values, down_t=None)


def _wide_mixture(mixture: MixtureWeights) -> MixtureWeights:
    experts = [ExpertWeights(wide(one.gate), wide(one.up), wide(one.down)) for one in mixture.networks]
    return MixtureWeights(
        router=wide(mixture.router),
        experts=tuple(experts[: len(mixture.experts)]),
        shared=None if mixture.shared is None else experts[-1],
        shared_gate=None if mixture.shared_gate is None else wide(mixture.shared_gate),
    )


def _matrix_names() -> tuple[str, ...]:
    return ("q", "k", "v", "o", "gate", "up", "down")

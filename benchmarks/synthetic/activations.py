"""Which neurons of a real model are active on held-out text, in a form that a larger model can take over.

A layer's gate before its activation is a matrix Z [states, neurons] of low rank. Its leading components give a code
for every state (a position of the text) and loadings for every neuron; larger layers draw their neurons from these
loadings, so that frequencies, co-activation and the change from token to token are the real model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Q8Matrix
from fairlead_language_model.graph import LlamaGraph, PageTable
from fairlead_language_model.tokenizer import open_tokenizer
from fairlead_sparse_inference.sparsity.predictor.network import Predictor
from fairlead_sparse_inference.train.corpus import read_books, split

F32 = NDArray[np.float32]
WINDOW = 512
#: A component below this share of the first is rounding.
_RANK = 1e-3


@dataclass(frozen=True, eq=False, slots=True)
class SourceLayer:
    """One layer of the real model on held-out text.

    Attributes:
        code: float32 [states, components], each component with mean square 1.
        loadings: float32 [neurons, components]; code @ loadings.T is the gate, scaled to mean square 1 a neuron.
        frequency: [neurons]: share of the states that a neuron's gate is above zero for.
        predictor: what the real model's predictor does on the same text, where one was given.
    """

    code: F32
    loadings: F32
    frequency: F32
    predictor: PredictorShares | None = None


@dataclass(frozen=True, slots=True)
class PredictorShares:
    """A real predictor on held-out text.

    Attributes:
        recall: share of the gates above zero whose neuron is named.
        named: neurons that are named for each gate above zero.
    """

    recall: float
    named: float


def held_out_tokens(model: Path, text: Path, count: int) -> NDArray[np.int64]:
    """Tokens [count] of the books that the shipped model's training kept apart as its test text.

    Raises:
        CorpusError: the text cannot be read. ValueError: it is too short.
    """
    tokenizer = open_tokenizer(model)
    tokens: list[int] = []
    for book in split(read_books(text)).test:
        tokens += tokenizer.encode(book.text, add_special_tokens=False, parse_special=False)
        if len(tokens) >= count:
            return np.asarray(tokens[:count], np.int64)
    raise ValueError(f"text {text}: its held-out part has {len(tokens)} tokens; {count} are needed")


def gates(graph: LlamaGraph, tokens: NDArray[np.int64]) -> tuple[list[F32], list[F32]]:
    """Each layer's gate before the activation, float32 [tokens, neurons], and its normalized input [tokens, hidden].

    The text goes through in windows.
    """
    size = min(WINDOW, graph.config.max_position_embeddings)
    found, inputs = (list[list[F32]]([] for _ in graph.weights.layers) for _ in range(2))

    def note(layer: int, x: F32) -> F32:
        found[layer].append(x @ _wide(graph.weights.layers[layer].gate).T)
        inputs[layer].append(x)
        return graph.activations(layer, x)

    pages = graph.pages(size)
    for start in range(0, len(tokens), size):
        table = PageTable()
        graph.hidden(tokens[start : start + size].tolist(), pages, table, neurons=note)
        pages.release(table)
    return [np.concatenate(parts) for parts in found], [np.concatenate(parts) for parts in inputs]


def predictor_shares(predictor: Predictor, inputs: F32, gate: F32) -> PredictorShares:
    """What a predictor names of a layer, given its inputs [tokens, hidden] and gates [tokens, neurons]."""
    named, fires = predictor.predict(inputs), gate > 0
    count = max(1, int(fires.sum()))
    return PredictorShares(int((named & fires).sum()) / count, int(named.sum()) / count)


def factored(gate: F32, components: int) -> SourceLayer:
    """Keep so many components of a layer's gate [states, neurons], at most its rank."""
    states = len(gate)
    values, vectors = np.linalg.eigh((gate.T @ gate).astype(np.float64))
    order = np.argsort(values)[::-1][:components]
    spread = np.sqrt(np.maximum(values[order], 0.0))
    kept = order[spread > _RANK * spread[0]]
    strength = np.sqrt(values[kept] / states)
    code = gate @ (vectors[:, kept] / strength).astype(np.float32)
    loadings = (vectors[:, kept] * strength).astype(np.float32)
    size = np.sqrt(np.square(loadings).sum(axis=1, keepdims=True)) + np.float32(1e-9)
    return SourceLayer(code, loadings / size, (gate > 0).mean(axis=0, dtype=np.float32))


def scaled(frequencies: Sequence[F32], mean: float, smallest: float) -> list[F32]:
    """Shift all frequencies' log odds by one number, so that their mean over the layers is ``mean``.

    Args:
        frequencies: one array a layer, values from 0 to 1.
        mean: what is wanted.
        smallest: what a frequency of 0 counts as (and 1 minus it a frequency of 1).
    """
    odds = [np.log(f / (1 - f)) for f in (np.clip(f, smallest, 1 - smallest) for f in frequencies)]
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        found = float(np.mean([_logistic(part + middle).mean() for part in odds]))
        low, high = (middle, high) if found < mean else (low, middle)
    return [_logistic(part + high).astype(np.float32) for part in odds]


def _logistic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return cast("NDArray[np.floating]", 1 / (1 + np.exp(-x)))


def _wide(matrix: F32 | Q8Matrix) -> F32:
    return matrix.dequantize() if isinstance(matrix, Q8Matrix) else matrix

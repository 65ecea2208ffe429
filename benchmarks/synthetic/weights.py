"""The weights of a synthetic model, as Q4_0 blocks that every engine takes bit for bit.

A token's embedding is the code of one position of the held-out text, and the output head leads from each token to the
next position's: decoding greedily walks through the text. What attention and feed-forward layers add is a few per cent
of the embedding, so that layer after layer sees states with the real model's distribution. Gates are drawn from the
real neurons' loadings; a group of constant columns carries each neuron's threshold, which sets its frequency. Random
matrices have one scale, so that they are the same numbers in either orientation.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray

from .activations import PredictorShares, SourceLayer, scaled
from .disk_order import disk_order
from .shape import FIRST_STATE, GROUP, Shape

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
BLOCK_BYTES = 18
#: Root mean square that one sublayer adds to a residual stream of 1.
_ADDED = 0.01
#: Share of a neuron's gate (as amplitude) from a second real neuron, and from the other columns.
_SECOND, _OTHER = 0.4, 0.1
#: A predictor finds this share of the active neurons where no real one says otherwise.
RECALL = 0.98


@dataclass(frozen=True, eq=False, slots=True)
class SyntheticLayer:
    """Q4_0 blocks uint8 [rows, 18 columns / 32] and what a layer does on the states.

    Attributes:
        query, key, value, output, gate, up: as in a checkpoint, rotary halves not interleaved.
        down: [hidden, neurons]; down_t: the same numbers [neurons, hidden].
        predictor_a, predictor_b: [rank, hidden] and [neurons, rank]: a neuron is predicted where
            B relu(A x) > 0.
        frequency: float32 [neurons]: share of the states in which a neuron is active.
        order: int32 [neurons], the neuron at each place of the bundle file.
        active, predicted, recall: shares of neurons on the states, and of the active ones that are predicted.
    """

    query: U8
    key: U8
    value: U8
    output: U8
    gate: U8
    up: U8
    down: U8
    down_t: U8
    predictor_a: U8
    predictor_b: U8
    frequency: F32
    order: NDArray[np.int32]
    active: float
    predicted: float
    recall: float


@dataclass(frozen=True, eq=False, slots=True)
class SyntheticModel:
    """Embedding and head [vocabulary, 18 hidden / 32], and the layers."""

    shape: Shape
    embedding: U8
    head: U8
    layers: tuple[SyntheticLayer, ...]


def build(shape: Shape, source: Sequence[SourceLayer], seed: int) -> SyntheticModel:
    """Make a model whose layers follow the real layers' order, several to each."""
    random = np.random.default_rng(seed)
    states, columns = residual_states(shape, source, random)
    embedding = random.standard_normal((shape.vocabulary, shape.hidden)).astype(np.float32)
    embedding[FIRST_STATE:] = states
    table = quantize(embedding)
    seen = dequantize(table)[FIRST_STATE:]
    seen /= np.sqrt(np.square(seen).mean(axis=1, keepdims=True))
    which = [index * len(source) // shape.layers for index in range(shape.layers)]
    wanted = scaled([source[at].frequency for at in which], shape.active, 1 / len(states))
    # Each layer needs about 1 GB and mostly one core; its random numbers are its own.
    with ProcessPoolExecutor(min(shape.layers, max(1, len(os.sched_getaffinity(0)) // 2))) as pool:
        jobs = [
            pool.submit(_layer, shape, source[at], wanted[index], columns[at], seen, seed, index)
            for index, at in enumerate(which)
        ]
        layers = tuple(job.result() for job in jobs)
    return SyntheticModel(shape, table, _head(table), layers)


def residual_states(
    shape: Shape, source: Sequence[SourceLayer], random: np.random.Generator
) -> tuple[F32, list[slice]]:
    """Embeddings float32 [states, hidden] of root mean square 1, and the columns of each real layer's code."""
    width = shape.components(len(source))
    states = random.standard_normal((shape.states, shape.hidden)).astype(np.float32)
    states[:, :GROUP] = 1.0
    columns = [slice(GROUP + i * width, GROUP + i * width + layer.code.shape[1]) for i, layer in enumerate(source)]
    for part, layer in zip(columns, source, strict=True):
        states[:, part] = layer.code[: shape.states]
    return states / np.sqrt(np.square(states).mean(axis=1, keepdims=True)), columns


def _layer(
    shape: Shape, source: SourceLayer, wanted: F32, columns: slice, seen: F32, seed: int, index: int
) -> SyntheticLayer:
    random = np.random.default_rng((seed, index))
    hidden, neurons = shape.hidden, shape.neurons
    gate, active = _gate(shape, source, wanted, columns, seen, random)
    spread = _ADDED / (0.5 * neurons * shape.active) ** 0.5
    up, down = random_blocks((neurons, hidden), hidden**-0.5, random), _integers((hidden, neurons), random)
    a, b = _predictor(shape, columns, gate, seen, active, source.predictor)
    found = np.maximum(seen @ dequantize(a).T, 0) @ dequantize(b).T > 0
    return SyntheticLayer(
        query=random_blocks((hidden, hidden), hidden**-0.5, random),
        key=random_blocks((shape.key_size, hidden), hidden**-0.5, random),
        value=random_blocks((shape.key_size, hidden), hidden**-0.5, random),
        output=random_blocks((hidden, hidden), _ADDED * hidden**-0.5, random),
        gate=gate,
        up=up,
        down=_blocks(down, spread),
        down_t=_blocks(np.ascontiguousarray(down.T), spread),
        predictor_a=a,
        predictor_b=b,
        frequency=active.mean(axis=0, dtype=np.float32),
        order=disk_order(active),
        active=float(active.mean()),
        predicted=float(found.mean()),
        recall=float((found & active).sum() / max(1, active.sum())),
    )


def _gate(
    shape: Shape, source: SourceLayer, wanted: F32, columns: slice, seen: F32, random: np.random.Generator
) -> tuple[U8, NDArray[np.bool_]]:
    """Gate blocks, and which neurons are active [states, neurons]. Each neuron mixes two real ones."""
    first, second = random.integers(0, len(source.loadings), (2, shape.neurons))
    rows = random.standard_normal((shape.neurons, shape.hidden)).astype(np.float32) * (_OTHER * shape.hidden**-0.5)
    rows[:, columns] = source.loadings[first] * (1 - _SECOND**2) ** 0.5 + source.loadings[second] * _SECOND
    rows[:, :GROUP] = 0
    # The threshold is taken from the weights as they are stored, so that quantization does not move the frequency.
    before = seen @ dequantize(quantize(rows)).T / seen[:, :1]
    at = np.sort(before, axis=0)
    place = np.clip(np.rint((1 - wanted[first]) * len(seen)).astype(int) - 1, 0, len(seen) - 2)
    neuron = np.arange(shape.neurons)
    threshold = (at[place, neuron] + at[place + 1, neuron]) / 2
    rows[:, :GROUP] = -threshold[:, None] / GROUP
    blocks = quantize(rows)
    return blocks, seen @ dequantize(blocks).T > 0


def _predictor(
    shape: Shape, columns: slice, gate: U8, seen: F32, active: NDArray[np.bool_], real: PredictorShares | None
) -> tuple[U8, U8]:
    """A and B: the gate on its leading components, by a positive and a negative hidden unit each, plus a constant.

    Where a real predictor is given, it finds as much as that, and sees as many components as it takes to name no fewer
    neurons: a matrix of weights that is as hard to foresee as the real one's.
    """
    most = min(shape.predicted_components, columns.stop - columns.start)
    if real is None:
        return _seeing(most, shape, columns, gate, seen, active, RECALL)[:2]
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        named = _seeing(middle, shape, columns, gate, seen, active, real.recall)[2]
        low, high = (middle, high) if named >= real.named * active.mean() else (low, middle - 1)
    return _seeing(low, shape, columns, gate, seen, active, real.recall)[:2]


def _seeing(
    kept: int, shape: Shape, columns: slice, gate: U8, seen: F32, active: NDArray[np.bool_], recall: float
) -> tuple[U8, U8, float]:
    """A, B, and the share of neurons that they name, of a predictor of so many components."""
    a = np.zeros((shape.rank, shape.hidden), np.float32)
    a[np.arange(GROUP), np.arange(GROUP)] = 1
    place = columns.start + np.arange(kept)
    for sign, start in ((1.0, GROUP), (-1.0, shape.rank // 2)):
        a[start + np.arange(kept), place] = sign
    weights = dequantize(gate)
    b = np.zeros((shape.neurons, shape.rank), np.float32)
    b[:, GROUP : GROUP + kept] = weights[:, place]
    b[:, shape.rank // 2 : shape.rank // 2 + kept] = -weights[:, place]
    a_blocks = quantize(a)
    hidden = np.maximum(seen @ dequantize(a_blocks).T, 0)
    score = hidden @ dequantize(quantize(b)).T / seen[:, :1]
    cut = _cut(score, weights[:, :GROUP].sum(axis=1), active, recall)
    b[:, :GROUP] = -cut[:, None] / GROUP
    return a_blocks, quantize(b), float((score > cut).mean())


def _cut(score: F32, bias: F32, active: NDArray[np.bool_], recall: float) -> F32:
    """Each neuron's threshold: its gate's own, lowered alike for all until the predictor has its recall."""
    margin = (score + bias)[active]
    lowered = np.quantile(margin, 1 - recall).astype(np.float32) if margin.size else np.float32(0)
    return cast("F32", -bias + lowered)


def _head(table: U8) -> U8:
    """Each token's row is the embedding of the one before it in the cycle; rows of zeros for what is outside."""
    head = np.zeros_like(table)
    head[FIRST_STATE:] = np.roll(table[FIRST_STATE:], 1, axis=0)
    return head


def random_blocks(shape: tuple[int, int], spread: float, random: np.random.Generator) -> U8:
    """Blocks of independent weights of mean 0 and this standard deviation, with one scale."""
    return _blocks(_integers(shape, random), spread)


def _integers(shape: tuple[int, int], random: np.random.Generator) -> U8:
    """Uniform in -7..7, stored with 8 added; their standard deviation is the root of 56 / 3."""
    return random.integers(1, 16, shape, np.uint8)


def _blocks(integers: U8, spread: float) -> U8:
    rows, columns = integers.shape
    group = integers.reshape(rows, columns // GROUP, GROUP)
    out = np.empty((rows, columns // GROUP, BLOCK_BYTES), np.uint8)
    out[:, :, :2] = np.array([spread / (56 / 3) ** 0.5], np.float16).view(np.uint8)
    out[:, :, 2:] = group[:, :, : GROUP // 2] | group[:, :, GROUP // 2 :] << 4
    return out.reshape(rows, -1)


def quantize(weights: F32) -> U8:
    """Q4_0 blocks uint8 [rows, 18 columns / 32] of float32 [rows, columns]."""
    return cast("U8", quants.quantize(weights, GGMLQuantizationType.Q4_0))


def dequantize(blocks: U8) -> F32:
    """The float32 [rows, columns] that blocks stand for."""
    return cast("F32", quants.dequantize(blocks, GGMLQuantizationType.Q4_0))

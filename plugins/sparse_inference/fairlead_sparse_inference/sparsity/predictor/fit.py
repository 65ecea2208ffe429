"""Fits a predictor: binary cross-entropy, the more a neuron adds the heavier, by Adam; in PyTorch or in NumPy."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .examples import Examples
from .network import FloatArray, Predictor

_HEAVIEST = 8.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a predictor is trained; the learning rate falls linearly to zero."""

    epochs: int = 8
    batch: int = 512
    rate: float = 3e-3
    weight_decay: float = 1e-4
    positive_weight: float = 3.0
    seed: int = 0


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def fit(start: Predictor, data: Examples, recipe: Recipe, use_torch: bool) -> Predictor:
    """Train from a start; both ways follow the same recipe and differ in summation order only."""
    if use_torch:
        from .fit_torch import fit_torch

        return fit_torch(start, data, recipe)
    return fit_numpy(start, data, recipe)


def batches(tokens: int, recipe: Recipe) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Yield a learning rate and the rows of a batch, epoch after epoch in a new order."""
    size = min(recipe.batch, tokens)
    steps, done = recipe.epochs * (tokens // size), 0
    for epoch in range(recipe.epochs):
        order = np.random.default_rng((recipe.seed, epoch)).permutation(tokens)
        for start in range(0, tokens - size + 1, size):
            yield recipe.rate * (1 - done / steps), order[start : start + size]
            done += 1


def weights_of(adds: FloatArray, mean_add: float, positive_weight: float) -> FloatArray:
    """Return the weight of each neuron and token in the loss: 1 where it is silent, else by what it adds."""
    heavy = np.minimum(adds / np.float32(mean_add), np.float32(_HEAVIEST))
    return np.where(adds > 0, np.float32(positive_weight) * (np.float32(0.25) + heavy), np.float32(1))


def mean_add(data: Examples) -> float:
    """Return what a neuron that fires adds on average."""
    fired = int((data.adds > 0).sum())
    return float(data.adds.sum(dtype=np.float64)) / fired if fired else 1.0


def fit_numpy(start: Predictor, data: Examples, recipe: Recipe) -> Predictor:
    """Train with hand-written gradients, for installations without PyTorch."""
    parameters = [start.a.copy(), start.b.copy(), start.bias.copy()]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    mean = mean_add(data)
    for step, (rate, rows) in enumerate(batches(len(data.inputs), recipe), 1):
        gradients = _gradients(parameters, data.inputs[rows], data.adds[rows], mean, recipe.positive_weight)
        for parameter, gradient, moment in zip(parameters, gradients, moments, strict=True):
            _adamw(parameter, gradient, moment, step, rate, recipe.weight_decay)
    return Predictor(*parameters)


def _gradients(
    parameters: list[FloatArray], x: FloatArray, adds: FloatArray, mean: float, positive_weight: float
) -> list[FloatArray]:
    a, b, bias = parameters
    hidden = np.maximum(x @ a.T, np.float32(0))
    scores = hidden @ b.T + bias
    chance = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
    slope = (chance - (adds > 0)) * weights_of(adds, mean, positive_weight) / np.float32(adds.size)
    back = (slope @ b) * (hidden > 0)
    return [back.T @ x, slope.T @ hidden, slope.sum(axis=0)]


def _adamw(
    parameter: FloatArray,
    gradient: FloatArray,
    moment: tuple[FloatArray, FloatArray],
    step: int,
    rate: float,
    decay: float,
) -> None:
    """One step of AdamW (Loshchilov and Hutter, 2019) in place, with its usual constants."""
    first, second = moment
    first += np.float32(0.1) * (gradient - first)
    second += np.float32(0.001) * (np.square(gradient) - second)
    size = np.sqrt(second / np.float32(1 - 0.999**step)) + np.float32(1e-8)
    parameter *= np.float32(1 - rate * decay)
    parameter -= np.float32(rate / (1 - 0.9**step)) * first / size

"""Bounds by another route: the Fisher information of a model's mean, differentiated numerically."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def bounds(mean: Callable[[np.ndarray], np.ndarray], at: Sequence[float], steps: Sequence[float], noise: float):
    """Covariance bound of all parameters of ``mean(parameters)`` in complex white noise of power ``noise``."""
    at = np.asarray(at, np.float64)
    columns = []
    for index, step in enumerate(steps):
        move = np.zeros(len(at))
        move[index] = step
        columns.append((mean(at + move) - mean(at - move)).ravel() / (2 * step))
    slopes = np.stack(columns, axis=1)
    scale = np.asarray(steps)
    information = 2 / noise * (slopes.conj().T @ slopes).real * np.outer(scale, scale)
    return np.linalg.inv(information) * np.outer(scale, scale)

"""Loss of a model over windows of text, and how far an approximation moves it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model import FloatArray, Neurons, ToolModel, layer_passes


@dataclass(frozen=True, slots=True)
class Score:
    """Mean loss of each window, float64 [windows], in nats a token."""

    losses: NDArray[np.float64]
    tokens: int

    @property
    def loss(self) -> float:
        """Mean over all tokens, nats."""
        return float(self.losses.mean())

    @property
    def perplexity(self) -> float:
        """Exponential of the loss."""
        return math.exp(self.loss)

    def moved_from(self, exact: Score) -> tuple[float, float]:
        """Return by which share the perplexity rose, and half the width of its 95 % interval (paired windows).

        One window has no interval: NaN.
        """
        differences = self.losses - exact.losses
        moved = math.expm1(float(differences.mean()))
        if len(differences) < 2:
            return moved, math.nan
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        return moved, 1.96 * error * math.exp(float(differences.mean()))

    def record(self, bytes_per_token: float) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {
            "loss": round(self.loss, 5),
            "perplexity": round(self.perplexity, 4),
            "bits_per_byte": round(self.loss / math.log(2) / bytes_per_token, 4),
            "tokens": self.tokens,
        }


def score(
    model: ToolModel,
    rows: NDArray[np.int64],
    neurons: Neurons | None = None,
    advance: Callable[..., None] = lambda: None,
) -> Score:
    """Score windows [n, context + 1], each as a sequence of its own; `advance` is called after each."""
    losses: list[float] = []
    for targets, logits in layer_passes(model, rows, neurons):
        losses.append(cross_entropy(logits, targets))
        advance()
    return Score(np.asarray(losses), rows.shape[0] * (rows.shape[1] - 1))


def cross_entropy(logits: FloatArray, targets: NDArray[np.int64]) -> float:
    """Return the mean loss in nats of targets [n] under logits [n, vocabulary]."""
    top = logits.max(axis=1, keepdims=True)
    sums = np.log(np.exp(logits - top).sum(axis=1, dtype=np.float64)) + top[:, 0]
    return float((sums - logits[np.arange(len(targets)), targets]).mean())

"""What approximations cost on the same windows: the exact model is computed once, and each approximation beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model import FloatArray, Neurons, ToolModel, layer_passes
from .score import Score

#: Up to here the exact model's probabilities are kept, else they are computed again for each comparison.
KEPT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of the exact model and of an approximation, and the mean KL(exact || approximate), nats a token.

    The rise of the loss on a text is that divergence plus noise of mean near zero: on few windows the divergence is
    known far better than the rise.
    """

    exact: Score
    approximate: Score
    divergence: float

    @property
    def rise(self) -> float:
        """By which share the perplexity of this text rose."""
        return self.approximate.moved_from(self.exact)[0]

    @property
    def spent(self) -> float:
        """What counts against a budget of perplexity: the rise, or what the divergence lets expect if that is more."""
        return max(self.rise, float(np.expm1(self.divergence)))


class Reference:
    """An exact model's log probabilities on windows [n, context + 1], to compare approximations with."""

    def __init__(self, model: ToolModel, rows: NDArray[np.int64]) -> None:
        self.model, self.rows = model, rows
        self._kept: dict[int, FloatArray] = {}

    def compare(
        self, runs: Sequence[Neurons], windows: Sequence[int] | None = None, advance: Callable[..., None] | None = None
    ) -> list[Comparison]:
        """Compare approximations over all windows, or some; `advance` is called after each window."""
        chosen = range(len(self.rows)) if windows is None else windows
        losses, divergences = np.zeros((len(runs) + 1, len(chosen))), np.zeros((len(runs), len(chosen)))
        for place, window in enumerate(chosen):
            exact, targets = self._exact(window), self.rows[window, 1:]
            losses[0, place] = _loss(exact, targets)
            chances = np.exp(exact)
            for index, run in enumerate(runs):
                ours = _log_chances(self.model, self.rows[window], run)
                losses[index + 1, place] = _loss(ours, targets)
                divergences[index, place] = (chances * (exact - ours)).sum(axis=1).mean(dtype=np.float64)
            if advance is not None:
                advance()
        scores = [Score(part, len(chosen) * (self.rows.shape[1] - 1)) for part in losses]
        means = divergences.mean(axis=1)
        return [Comparison(scores[0], score, float(mean)) for score, mean in zip(scores[1:], means, strict=True)]

    def _exact(self, window: int) -> FloatArray:
        found = self._kept.get(window)
        if found is None:
            found = _log_chances(self.model, self.rows[window], None)
            if (len(self._kept) + 1) * found.nbytes <= KEPT_BYTES:
                self._kept[window] = found
        return found


def _log_chances(model: ToolModel, row: NDArray[np.int64], run: Neurons | None) -> FloatArray:
    """Return log probabilities [context, vocabulary] of one window."""
    ((_, logits),) = layer_passes(model, row[None], run)
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _loss(log_chances: FloatArray, targets: NDArray[np.int64]) -> float:
    return -float(log_chances[np.arange(len(targets)), targets].mean(dtype=np.float64))

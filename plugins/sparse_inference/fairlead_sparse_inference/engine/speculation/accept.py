"""Decides whether a guessed token stands. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.sampling import SamplingParameters, distribution, sample


def accept(
    logits: NDArray[np.float32],
    guess: int | None,
    drawn_from: NDArray[np.float64] | None,
    parameters: SamplingParameters,
    random: np.random.Generator,
    history: Sequence[int],
    prompt: Sequence[int],
) -> int:
    """Return the token at a place: `guess` where it stands, another where it is rejected.

    The token is distributed as if there had been no guess. Without `drawn_from` (greedy, or a guess that was not drawn)
    it is the very token that `sample` would have given: nothing depends on the guess but the speed. A guess x drawn
    from q stands with probability min(1, p(x) / q(x)), and else max(0, p - q), normalized, is drawn from (Leviathan,
    Kalman and Matias 2023, "Fast Inference from Transformers via Speculative Decoding", section 2.3).
    """
    if guess is None or drawn_from is None or parameters.greedy:
        return sample(logits, parameters, random, history, prompt)
    wanted = distribution(logits, parameters, history, prompt)
    if random.random() * drawn_from[guess] < wanted[guess]:
        return guess
    return draw(np.maximum(wanted - drawn_from, 0.0), random)


def draw(weights: NDArray[np.float64], random: np.random.Generator) -> int:
    """Draw a token from weights [vocabulary] that need not sum to one."""
    cumulative = np.cumsum(weights)
    place = int(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"))
    # Rounding can put the number on the last step of the staircase: then the last possible token is meant.
    return min(place, int(np.flatnonzero(weights)[-1]))

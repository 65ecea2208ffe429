"""Log probabilities of a chosen token and of the best alternatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural-log probability under the model, and the best tokens at its place (best first)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def token_logprobs(logits: NDArray[np.floating], token: int, top: int = 0) -> TokenLogprob:
    """Return the log probability of a token under the model's own logits [vocabulary], before any sampling setting."""
    values = np.asarray(logits, dtype=np.float64)
    best = values.max()
    logprobs = values - best - np.log(np.exp(values - best).sum())
    order = np.argsort(-logprobs, kind="stable")[:top] if top else ()
    alternatives = tuple((int(i), float(logprobs[i])) for i in order)
    return TokenLogprob(token, float(logprobs[token]), alternatives)

"""Draws one token from logits. Pure: randomness comes in as a generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..sampling_parameters import SamplingParameters

Logits = NDArray[np.floating]
Probabilities = NDArray[np.float64]


def make_generator(seed: int | None) -> np.random.Generator:
    """Return a generator for a request's seed (any integer, also a negative one), or a fresh one for None."""
    return np.random.default_rng(None if seed is None else seed % (1 << 64))


def sample(
    logits: Logits,
    parameters: SamplingParameters,
    rng: np.random.Generator,
    history: Sequence[int] = (),
    prompt: Sequence[int] = (),
) -> int:
    """Choose the next token from logits [vocabulary].

    `history` holds the tokens generated so far and `prompt` those before them: presence and frequency penalties count
    the history only, the repetition penalty both. Greedy choice takes the lowest id among equals, and uses no
    randomness; otherwise one number is drawn. Raises ValueError where no token has a finite logit or one is NaN.
    """
    adjusted = adjust(logits, parameters, history, prompt)
    if parameters.greedy:
        return int(np.argmax(adjusted))
    probabilities = filtered(adjusted, parameters)
    cumulative = np.cumsum(probabilities)
    drawn = int(np.searchsorted(cumulative, rng.random() * float(cumulative[-1]), side="right"))
    # Rounding can put the number on the last step of the staircase: then the last possible token is meant.
    return min(drawn, int(np.flatnonzero(probabilities)[-1]))


def distribution(
    logits: Logits, parameters: SamplingParameters, history: Sequence[int] = (), prompt: Sequence[int] = ()
) -> Probabilities:
    """Return the probabilities [vocabulary] that `sample` draws from; they sum to one."""
    adjusted = adjust(logits, parameters, history, prompt)
    if parameters.greedy:
        return (np.arange(adjusted.size) == np.argmax(adjusted)).astype(np.float64)
    return filtered(adjusted, parameters)


def adjust(
    logits: Logits, parameters: SamplingParameters, history: Sequence[int], prompt: Sequence[int]
) -> NDArray[np.float64]:
    """Return the logits with biases and penalties applied."""
    values = np.array(logits, dtype=np.float64)
    for token, bias in parameters.logit_bias.items():
        if not 0 <= token < values.size:
            raise ValueError(f"logit_bias: token {token} lies outside the vocabulary of {values.size}")
        values[token] += bias
    _penalise_repetition(values, parameters.repetition_penalty, [*prompt, *history])
    _penalise_presence(values, parameters, history)
    if np.isnan(values).any() or values.max() == -np.inf or values.max() == np.inf:
        raise ValueError("logits hold NaN or infinity, or forbid every token")
    return values


def filtered(logits: NDArray[np.float64], parameters: SamplingParameters) -> Probabilities:
    """Return probabilities after temperature, top-k, top-p and min-p, in this order."""
    with np.errstate(over="ignore"):
        # A tiny temperature sends all but the best to minus infinity, which is what it means.
        scaled = (logits - logits.max()) / parameters.temperature
    kept = _keep_top_k(scaled, parameters.top_k)
    kept = _keep_top_p(kept, parameters.top_p)
    weights = np.exp(kept)
    # The best logit is 0 here, so its weight is 1 and min_p compares directly.
    weights[weights < parameters.min_p] = 0
    return weights / weights.sum()


def _penalise_repetition(values: NDArray[np.float64], penalty: float, seen: Sequence[int]) -> None:
    """Divide positive logits of seen tokens by the penalty, multiply negative ones (CTRL, section 4.1)."""
    if penalty == 1 or not seen:
        return
    tokens = np.unique(np.asarray(seen, dtype=np.int64))
    logits = values[tokens]
    values[tokens] = np.where(logits > 0, logits / penalty, logits * penalty)


def _penalise_presence(values: NDArray[np.float64], parameters: SamplingParameters, history: Sequence[int]) -> None:
    if not history or not (parameters.presence_penalty or parameters.frequency_penalty):
        return
    tokens, counts = np.unique(np.asarray(history, dtype=np.int64), return_counts=True)
    values[tokens] -= parameters.presence_penalty + parameters.frequency_penalty * counts


def _keep_top_k(logits: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    if not 0 < k < logits.size:
        return logits
    edge = np.partition(logits, -k)[-k]
    # Among equal logits at the edge the lowest ids stay, as in the greedy choice.
    spare = k - int(np.count_nonzero(logits > edge))
    return _masked(logits, np.concatenate([np.flatnonzero(logits < edge), np.flatnonzero(logits == edge)[spare:]]))


def _keep_top_p(logits: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """Keep the smallest set of best tokens whose probabilities reach p (nucleus sampling)."""
    if p >= 1:
        return logits
    weights = np.exp(logits)
    total = weights.sum()
    # All weights below this edge together stay below (1 - p) of the total: none of them can be needed, nor sorted.
    tail = weights < (1 - p) * total / weights.size
    candidates = np.flatnonzero(~tail)
    order = candidates[np.argsort(-weights[candidates], kind="stable")]
    before = np.cumsum(weights[order]) - weights[order]
    return _masked(logits, np.concatenate([np.flatnonzero(tail), order[before >= p * total]]))


def _masked(logits: NDArray[np.float64], dropped: NDArray[np.intp]) -> NDArray[np.float64]:
    kept = logits.copy()
    kept[dropped] = -np.inf
    return kept

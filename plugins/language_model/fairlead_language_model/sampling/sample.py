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
    tokens, weights = candidates(adjusted, parameters)
    cumulative = np.cumsum(weights)
    drawn = int(np.searchsorted(cumulative, rng.random() * float(cumulative[-1]), side="right"))
    # Rounding can put the number on the last step of the staircase: then the last token is meant.
    return int(tokens[min(drawn, tokens.size - 1)])


def distribution(
    logits: Logits, parameters: SamplingParameters, history: Sequence[int] = (), prompt: Sequence[int] = ()
) -> Probabilities:
    """Return the probabilities [vocabulary] that `sample` draws from; they sum to one."""
    adjusted = adjust(logits, parameters, history, prompt)
    if parameters.greedy:
        return (np.arange(adjusted.size) == np.argmax(adjusted)).astype(np.float64)
    tokens, weights = candidates(adjusted, parameters)
    probabilities = np.zeros(adjusted.size)
    probabilities[tokens] = weights / weights.sum()
    return probabilities


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


def candidates(
    logits: NDArray[np.float64], parameters: SamplingParameters
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tokens that may be drawn, in order of their ids, and their weights (above 0, not normalised).

    Temperature, top-k, top-p and min-p apply in this order.
    """
    tokens = _top_k(logits, parameters.top_k)
    with np.errstate(over="ignore"):
        # A tiny temperature sends all but the best to minus infinity, which is what it means.
        weights = np.exp((logits[tokens] - logits.max()) / parameters.temperature)
    kept = _nucleus(weights, parameters.top_p)
    tokens, weights = tokens[kept], weights[kept]
    # The best token's weight is 1, so that min_p compares directly.
    likely = (weights >= parameters.min_p) & (weights > 0)
    return tokens[likely], weights[likely]


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


def _top_k(logits: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Return the k best tokens in order of their ids; among equals at the edge the lowest ids."""
    if not 0 < k < logits.size:
        return np.arange(logits.size, dtype=np.int64)
    edge = np.partition(logits, -k)[-k]
    above = np.flatnonzero(logits > edge)
    return np.sort(np.concatenate([above, np.flatnonzero(logits == edge)[: k - above.size]]))


def _nucleus(weights: NDArray[np.float64], p: float) -> NDArray[np.int64]:
    """Return the places, in order, of the fewest best weights that reach p of the total (nucleus sampling)."""
    if p >= 1:
        return np.arange(weights.size, dtype=np.int64)
    total = weights.sum()
    # All weights below this edge together stay below (1 - p) of the total: none of them can be needed, nor sorted.
    places = np.flatnonzero(weights >= (1 - p) * total / weights.size)
    places = places[np.argsort(-weights[places], kind="stable")]
    before = np.cumsum(weights[places]) - weights[places]
    return np.sort(places[before < p * total])

"""How long a step takes, fitted to measured steps (KunServe, "cost model").

A chunk of c tokens after a prefix of p costs alpha * (p c + (c^2 + c) / 2) + beta * c + gamma: the pairs of tokens that
attention computes, the tokens that everything else computes, and a constant. A batch costs the sum of its chunks, less
lambda for every chunk but one: what a shared launch and shared weights save.

Beyond the paper, delta * (p + c) counts the tokens whose keys and values a chunk reads: once, however many queries it
has. A token that is generated is bound by this, a long prompt by its pairs, and one factor cannot say both. And a step
of one token is bound by reading the weights, one of several by computing with them: what the second token costs more
than the third is a part of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Rounds of weighting steps anew; deviations below this share are alike.
ROUNDS, NEAR = 8, 1e-3


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one request that are computed in one step."""

    prefix: int
    """Tokens whose keys and values are there already."""
    tokens: int

    def __post_init__(self) -> None:
        if self.prefix < 0 or self.tokens < 1:
            raise ValueError(f"{self}: accepted: prefix 0 and above, tokens 1 and above")

    @property
    def pairs(self) -> int:
        """Pairs of tokens that attend: p c + (c^2 + c) / 2."""
        return self.prefix * self.tokens + (self.tokens * self.tokens + self.tokens) // 2

    @property
    def seen(self) -> int:
        """Tokens that attention reads: p + c."""
        return self.prefix + self.tokens


Batch = Sequence[Chunk]


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds for each pair, token and chunk, what sharing saves, for each token read, and beside a lone token."""

    pair_s: float
    """alpha."""
    token_s: float
    """beta."""
    chunk_s: float
    """gamma."""
    shared_s: float = 0.0
    """lambda."""
    read_s: float = 0.0
    """delta."""
    several_s: float = 0.0
    """What a batch of more than one token costs more."""

    @property
    def least_s(self) -> float:
        """Seconds of a batch of several tokens, however small it is."""
        return self.chunk_s + self.several_s

    def part(self, chunk: Chunk) -> float:
        """Return the seconds of a chunk among others."""
        return self.pair_s * chunk.pairs + self.token_s * chunk.tokens + self.read_s * chunk.seen + self.chunk_s

    def chunk(self, chunk: Chunk) -> float:
        """Return the seconds of a chunk alone."""
        return self.part(chunk) + self.several_s * (chunk.tokens > 1)

    def batch(self, batch: Batch) -> float:
        """Return the seconds of a batch; 0 for an empty one."""
        several = self.several_s * _several(batch)
        return sum(map(self.part, batch)) - max(0, len(batch) - 1) * self.shared_s + several

    def alike(self, chunk: Chunk, number: int) -> float:
        """Return the seconds of a batch of so many chunks that are alike; 0 for none."""
        several = self.several_s * (number * chunk.tokens > 1)
        return number * self.part(chunk) - max(0, number - 1) * self.shared_s + several

    def error(self, steps: Sequence[tuple[Batch, float]]) -> float:
        """Return the mean relative error over measured steps (batch, seconds)."""
        return float(np.mean([abs(self.batch(batch) / seconds - 1) for batch, seconds in steps]))


def _several(batch: Batch) -> bool:
    """Whether there is more than one token."""
    return len(batch) > 1 or any(chunk.tokens > 1 for chunk in batch)


def fit(steps: Sequence[tuple[Batch, float]]) -> CostModel:
    """Fit the model to measured steps; no part of it is negative.

    The sum of the relative errors is made least, not that of their squares, so that a few steps which took as long as
    they did for reasons of their own do not sway it: least squares, with steps weighted anew by one over how far they
    are. Where all batches have as many chunks, what sharing saves cannot be told from the constant and is 0; so is what
    several tokens cost more where no batch has one, or all have.

    Raises:
        ValueError: no step, an empty batch, or a time that is not above 0.
    """
    if not steps or any(not batch or not seconds > 0 for batch, seconds in steps):
        raise ValueError(f"{len(steps)} steps: accepted: at least one, each with a chunk and more than 0 seconds")
    sizes = np.array([len(batch) for batch, _ in steps], float)
    seconds = np.array([seconds for _, seconds in steps])
    features = np.stack(
        [
            [sum(chunk.pairs for chunk in batch) for batch, _ in steps],
            [sum(chunk.tokens for chunk in batch) for batch, _ in steps],
            [sum(chunk.seen for chunk in batch) for batch, _ in steps],
            np.ones(len(steps)),
            sizes - 1,
            [_several(batch) for batch, _ in steps],
        ],
        axis=1,
    ).astype(float)
    if features[:, -1].all():
        features[:, -1] = 0.0
    # By chunk, gamma |b| - lambda (|b| - 1) is gamma + (gamma - lambda) (|b| - 1): both parts are not negative, as a
    # further chunk is never cheaper than none.
    if len(set(sizes)) == 1:
        return _without_sharing(features, seconds)
    found = _least_deviations(features / seconds[:, None])
    pair_s, token_s, read_s, first_s, further_s, several_s = found
    shared_s = first_s - further_s
    if shared_s < 0:
        return _without_sharing(features, seconds)
    return CostModel(pair_s, token_s, first_s, shared_s, read_s, several_s)


def _without_sharing(features: NDArray[np.float64], seconds: NDArray[np.float64]) -> CostModel:
    """The model with lambda 0: chunks cost gamma each."""
    by_chunk = features[:, [0, 1, 2, 3, 5]]
    by_chunk[:, 3] += features[:, 4]
    pair_s, token_s, read_s, chunk_s, several_s = _least_deviations(by_chunk / seconds[:, None])
    return CostModel(pair_s, token_s, chunk_s, read_s=read_s, several_s=several_s)


def _least_deviations(relative: NDArray[np.float64]) -> list[float]:
    """Coefficients, none negative, with which the columns are 1 in each row with the least sum of deviations."""
    scale = np.abs(relative).max(axis=0)
    scale[scale == 0] = 1.0
    columns = relative / scale
    weights = np.ones(len(relative))
    best, least = np.zeros(relative.shape[1]), float("inf")
    for _ in range(ROUNDS):
        found = _not_negative(columns * weights[:, None], weights)
        deviations = np.abs(columns @ found - 1)
        if deviations.sum() < least * (1 - 1e-6):
            best, least = found, float(deviations.sum())
        weights = 1 / np.sqrt(np.maximum(deviations, NEAR))
    return (best / scale).tolist()


def _not_negative(matrix: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with no negative coefficient (Lawson and Hanson: columns come in one by one, and leave again)."""
    found, _, rank, _ = np.linalg.lstsq(matrix, wanted, rcond=None)
    if rank == matrix.shape[1] and (found >= 0).all():
        return found
    found, free = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1], bool)
    nothing = 1e-10 * float(np.linalg.norm(wanted))
    for _ in range(3 * matrix.shape[1]):
        gain = np.where(free, -np.inf, matrix.T @ (wanted - matrix @ found))
        if gain.max() <= nothing:
            break
        free[gain.argmax()] = True
        while True:
            wished = np.zeros_like(found)
            wished[free] = np.linalg.lstsq(matrix[:, free], wanted, rcond=None)[0]
            below = free & (wished <= 0)
            if not below.any():
                found = wished
                break
            # As far as none is negative; whoever got to nothing leaves.
            step = float((found[below] / (found[below] - wished[below])).min())
            found = found + step * (wished - found)
            free &= found > 1e-12
            found[~free] = 0.0
    return found

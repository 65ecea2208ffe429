"""How long a step takes, fitted to measured steps (KunServe, "cost model").

A chunk of c tokens after a prefix of p costs alpha * (p c + (c^2 + c) / 2) + beta * c + gamma: the pairs of tokens that
attention computes, the tokens that everything else computes, and a constant. A batch costs the sum of its chunks, less
lambda for every chunk but one: what a shared launch and shared weights save.

Beyond the paper, delta * (p + c) counts the tokens whose keys and values a chunk reads: once, however many queries it
has. A token that is generated is bound by this, a long prompt by its pairs, and one factor cannot say both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


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
    """Seconds for each pair, for each token, for each chunk, what sharing a batch saves, and for each token read."""

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

    def chunk(self, chunk: Chunk) -> float:
        """Return the seconds of a chunk alone."""
        return self.pair_s * chunk.pairs + self.token_s * chunk.tokens + self.read_s * chunk.seen + self.chunk_s

    def batch(self, batch: Batch) -> float:
        """Return the seconds of a batch; 0 for an empty one."""
        return sum(map(self.chunk, batch)) - max(0, len(batch) - 1) * self.shared_s

    def error(self, steps: Sequence[tuple[Batch, float]]) -> float:
        """Return the mean relative error over measured steps (batch, seconds)."""
        return float(np.mean([abs(self.batch(batch) / seconds - 1) for batch, seconds in steps]))


def fit(steps: Sequence[tuple[Batch, float]]) -> CostModel:
    """Fit the model to measured steps by least squares of the relative error; no part of it is negative.

    Where all batches have as many chunks, what sharing saves cannot be told from the constant and is 0.

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
        ],
        axis=1,
    ).astype(float)
    # By chunk, gamma |b| - lambda (|b| - 1) is gamma + (gamma - lambda) (|b| - 1): both parts are not negative, as a
    # further chunk is never cheaper than none.
    if len(set(sizes)) == 1:
        return _without_sharing(features, seconds)
    relative, wanted = features / seconds[:, None], np.ones(len(steps))
    pair_s, token_s, read_s, first_s, further_s = _not_negative(relative, wanted, [0, 1, 2, 3, 4])
    shared_s = first_s - further_s
    if shared_s < 0:
        return _without_sharing(features, seconds)
    return CostModel(pair_s, token_s, first_s, shared_s, read_s)


def _without_sharing(features: NDArray[np.float64], seconds: NDArray[np.float64]) -> CostModel:
    """The model with lambda 0: chunks cost gamma each."""
    by_chunk = features.copy()
    by_chunk[:, 3] += by_chunk[:, 4]
    relative = by_chunk / seconds[:, None]
    pair_s, token_s, read_s, chunk_s, _ = _not_negative(relative, np.ones(len(seconds)), [0, 1, 2, 3])
    return CostModel(pair_s, token_s, chunk_s, read_s=read_s)


def _not_negative(matrix: NDArray[np.float64], wanted: NDArray[np.float64], columns: list[int]) -> list[float]:
    """Least squares with no negative coefficient: of all subsets of so few columns, the best that has none."""
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    best, least = [0.0] * matrix.shape[1], float(wanted @ wanted)
    for size in range(1, len(columns) + 1):
        for chosen in combinations(columns, size):
            part = matrix[:, chosen] / scale[list(chosen)]
            found, *_ = np.linalg.lstsq(part, wanted, rcond=None)
            rest = float(((part @ found - wanted) ** 2).sum())
            if (found >= 0).all() and rest < least * (1 - 1e-12):
                best, least = [0.0] * matrix.shape[1], rest
                for column, value in zip(chosen, found / scale[list(chosen)], strict=True):
                    best[column] = float(value)
    return best

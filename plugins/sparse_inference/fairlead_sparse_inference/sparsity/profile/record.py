"""What is kept of one layer's activations while a text runs through the model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
#: Magnitudes are counted in powers of two from the first edge on; what is smaller (zeros too) is the first bin.
HISTOGRAM_EDGES: NDArray[np.float32] = np.exp2(np.arange(-20, 9, 0.5, dtype=np.float32))


@dataclass
class LayerRecord:
    """One network over all tokens that it gets.

    `bits` packs which neurons fire, one row a token (numpy.packbits), the windows one after the other.
    """

    neurons: int
    gate_counts: NDArray[np.int64] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    magnitude: NDArray[np.float64] = field(init=False)
    histogram: NDArray[np.int64] = field(init=False)
    tokens: int = 0
    _packed: list[NDArray[np.uint8]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start empty."""
        self.gate_counts, self.counts = (np.zeros(self.neurons, np.int64) for _ in range(2))
        self.magnitude = np.zeros(self.neurons, np.float64)
        self.histogram = np.zeros(len(HISTOGRAM_EDGES) + 1, np.int64)

    def add(self, fires: NDArray[np.bool_], gates: NDArray[np.bool_], activations: FloatArray) -> None:
        """Count tokens: what is recorded as firing, gates that are not zero, and activations, [tokens, neurons]."""
        sizes = np.abs(activations)
        self.gate_counts += gates.sum(axis=0)
        self.counts += (sizes > 0).sum(axis=0)
        self.magnitude += sizes.sum(axis=0, dtype=np.float64)
        bins = np.searchsorted(HISTOGRAM_EDGES, sizes.ravel(), side="right")
        self.histogram += np.bincount(bins, minlength=len(self.histogram))
        self._packed.append(np.packbits(fires, axis=1))
        self.tokens += len(activations)

    @property
    def bits(self) -> NDArray[np.uint8]:
        """Which neurons fire, uint8 [tokens, ceil(neurons / 8)]."""
        if len(self._packed) != 1:
            none = np.empty((0, -(-self.neurons // 8)), np.uint8)
            self._packed = [np.concatenate([none, *self._packed])]
        return self._packed[0]


def unpack(bits: NDArray[np.uint8], neurons: int) -> NDArray[np.bool_]:
    """Return packed rows as booleans [tokens, neurons]."""
    return np.unpackbits(bits, axis=1, count=neurons).astype(np.bool_)


def carrying_energy(activations: FloatArray, share: float) -> NDArray[np.bool_]:
    """Mark, token by token, the fewest neurons whose squared activations sum to a share of all, [tokens, neurons].

    This stands in for zeros in models that have none (SwiGLU): what is unmarked could be left out at that error.
    """
    squares = np.square(activations, dtype=np.float32)
    order = np.argsort(-squares, axis=1)
    sums = np.cumsum(np.take_along_axis(squares, order, axis=1), axis=1, dtype=np.float64)
    before = np.concatenate((np.zeros((len(sums), 1)), sums[:, :-1]), axis=1)
    marked = np.zeros(squares.shape, np.bool_)
    np.put_along_axis(marked, order, before < share * sums[:, -1:], axis=1)
    return marked

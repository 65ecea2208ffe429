"""Feed-forward networks of a layer: what their weights are, or what computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.checks import array_of
from fairlead_kernels.packed import PackedMatrix
from fairlead_kernels.predictor import Predictor
from fairlead_kernels.quantized import Q8Matrix
from fairlead_kernels.work import Work

F32 = NDArray[np.float32]
#: A weight matrix: float activations are multiplied by a Q8Matrix, int8 ones by a PackedMatrix.
Matrix = Q8Matrix | PackedMatrix


class FeedForwardSource(Protocol):
    """A layer's feed-forward network whose weights the source itself holds, reads or caches."""

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        ...

    @property
    def native(self) -> Any:
        """The extension's FeedForward object that computes it, for the native decoder."""
        ...

    def step(self, x: F32, neurons: NDArray[np.int32] | None, work: Work) -> tuple[F32, NDArray[np.int32]]:
        """Compute one normalized token x [hidden] in NumPy: (y [hidden], active neurons); adds to work [fields].

        A list restricts it to those neurons, summed in the order of the list.
        """
        ...


class Network(Protocol):
    """What a dense layer and an expert have in common; see LayerWeights."""

    @property
    def gate(self) -> Matrix | None: ...
    @property
    def up(self) -> Matrix | None: ...
    @property
    def down_t(self) -> Matrix | None: ...
    @property
    def gate_bias(self) -> F32 | None: ...
    @property
    def down_bias(self) -> F32 | None: ...
    @property
    def predictor(self) -> Predictor | None: ...
    @property
    def feed_forward(self) -> FeedForwardSource | None: ...


@dataclass(frozen=True, eq=False, slots=True)
class NetworkWeights:
    """One expert of a mixture; the fields are those of LayerWeights."""

    gate: Matrix | None = None
    up: Matrix | None = None
    down_t: Matrix | None = None
    gate_bias: F32 | None = None
    down_bias: F32 | None = None
    predictor: Predictor | None = None
    feed_forward: FeedForwardSource | None = None

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return neurons_of(self)


def neurons_of(network: Network) -> int:
    """Return the number of neurons; 0 where the caller computes the network itself."""
    if network.feed_forward is not None:
        return network.feed_forward.neurons
    return 0 if network.gate is None else network.gate.shape[0]


def check_network(network: Network, hidden: int, where: str) -> None:
    """Raise ValueError naming the first of a network's arrays that does not fit."""
    for name, size in (("gate_bias", neurons_of(network)), ("down_bias", hidden)):
        if getattr(network, name) is not None:
            array_of(f"{where}.{name}", getattr(network, name), np.float32, (size,))
    if network.gate is not None or network.up is not None or network.down_t is not None:
        _check_matrices(network, hidden, where)


def _check_matrices(network: Network, hidden: int, where: str) -> None:
    neurons = 0 if network.gate is None else network.gate.shape[0]
    kinds = set[str]()
    for name in ("gate", "down_t") if network.up is None else ("gate", "up", "down_t"):
        kinds.add(type(check_matrix(f"{where}.{name}", getattr(network, name), (neurons, hidden))).__name__)
    if len(kinds) > 1:
        raise ValueError(f"{where}: gate, up and down_t must be of one kind, got {' and '.join(sorted(kinds))}")
    if network.predictor is not None:
        if not isinstance(network.gate, PackedMatrix):
            raise ValueError(f"{where}.predictor: needs packed gate, up and down_t, got {kinds.pop()}")
        network.predictor.check(hidden, neurons, f"{where}.predictor")


def check_matrix(name: str, value: Any, shape: tuple[int, int]) -> Matrix:
    """Return the value if it is a matrix of that shape, else raise ValueError."""
    if not isinstance(value, Q8Matrix | PackedMatrix):
        raise ValueError(f"{name}: must be a Q8Matrix or a PackedMatrix, got {type(value).__name__}")
    if value.shape != shape:
        raise ValueError(f"{name}: must be {list(shape)}, got {list(value.shape)}")
    return value

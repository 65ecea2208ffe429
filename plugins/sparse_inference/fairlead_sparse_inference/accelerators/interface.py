"""What every accelerator is: hot neurons are loaded once, then tokens are submitted and waited for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix
from fairlead_kernels.hybrid import LEAST_CAPACITY

F32 = NDArray[np.float32]
#: How an accelerator holds weights: packed as the kernels do, or as bfloat16.
Weights = Literal["packed", "bf16"]
#: Tokens of one submission: a piece of a prompt.
CAPACITY = 64


class AcceleratorUnavailable(RuntimeError):
    """The device, or the software for it, is not there: says what is missing and what would help."""


@dataclass(frozen=True, eq=False, slots=True)
class HotNeurons:
    """The hot neurons of one layer.

    Attributes:
        gate, up, down_t: packed [neurons, hidden], one neuron a row; up is None in a network without gate (OPT).
        gate_bias: float32 [neurons], or None.
    """

    gate: PackedMatrix
    up: PackedMatrix | None
    down_t: PackedMatrix
    gate_bias: F32 | None = None

    def __post_init__(self) -> None:
        for name in ("up", "down_t"):
            matrix = cast("PackedMatrix | None", getattr(self, name))
            if matrix is not None and (matrix.shape, matrix.bits) != (self.gate.shape, self.gate.bits):
                raise ValueError(
                    f"{name}: {list(matrix.shape)} of {matrix.bits} bits; accepted: as gate, "
                    f"{list(self.gate.shape)} of {self.gate.bits} bits"
                )
        if not len(self):
            raise ValueError("gate: has no rows; accepted: at least one neuron")

    def __len__(self) -> int:
        return self.gate.shape[0]

    @property
    def matrices(self) -> tuple[PackedMatrix, ...]:
        """The matrices that there are."""
        return (self.gate, self.down_t) if self.up is None else (self.gate, self.up, self.down_t)


@dataclass(frozen=True, slots=True)
class Network:
    """What the feed-forward layers of a model have in common; see `fairlead_kernels.DecoderConfig`."""

    hidden: int
    activation: str = "drelu"
    threshold: float = 0.0


class Accelerator(ABC):
    """Computes y = down(gate_function(gate x + gate_bias) * up_function(up x)) over the hot neurons of a layer, dense.

    After every layer's `load`, tokens are written to `input`, `submit` starts a layer and returns, and `wait` returns
    when `output` and `active` are there. One submission at a time, from one thread; that is what
    `fairlead_kernels.hybrid` does for every layer of every token, with its own neurons computed in between. The same
    input gives the same bits.
    """

    def __init__(self, network: Network, capacity: int = CAPACITY) -> None:
        """Set the sizes.

        Args:
            network: the model's.
            capacity: the most tokens of one submission, at least 8.
        """
        if capacity < LEAST_CAPACITY:
            raise ValueError(f"capacity: must be at least {LEAST_CAPACITY}, got {capacity}")
        self.network, self.capacity = network, capacity
        self.loaded_bytes = 0
        self._input, returned = self._buffers(capacity * network.hidden, capacity * (network.hidden + 1))
        self._input = self._input.reshape(capacity, network.hidden)
        self._active, self._output = returned[:capacity], returned[capacity:].reshape(capacity, network.hidden)

    def _buffers(self, given: int, returned: int) -> tuple[F32, F32]:
        """Memory of the host for so many floats in each direction: the input; the counts and after them the output."""
        return np.zeros(given, np.float32), np.zeros(returned, np.float32)

    @property
    def input(self) -> F32:
        """Where tokens are written before `submit`: float32 [capacity, hidden]."""
        return self._input

    @property
    def output(self) -> F32:
        """After `wait`: float32 [capacity, hidden]."""
        return self._output

    @property
    def active(self) -> F32:
        """After `wait`: how many hot neurons had a gate that is not zero, float32 [capacity]."""
        return self._active

    @property
    @abstractmethod
    def name(self) -> str:
        """What computes, for logs and bids."""

    @abstractmethod
    def load(self, layer: int, hot: HotNeurons) -> None:
        """Copy a layer's hot neurons to the device; adds to `loaded_bytes` what they take there."""

    @abstractmethod
    def submit(self, layer: int, tokens: int) -> None:
        """Start computing a loaded layer for the first 1 to `capacity` tokens of the input, and return."""

    @abstractmethod
    def wait(self) -> None:
        """Return when output and counts of what was submitted are there; raises what went wrong."""

    def compute(self, layer: int, x: F32) -> F32:
        """Submit any number of tokens x float32 [tokens, hidden] in pieces and return what they get."""
        out = np.empty_like(x)
        for start in range(0, len(x), self.capacity):
            piece = x[start : start + self.capacity]
            self.input[: len(piece)] = piece
            self.submit(layer, len(piece))
            self.wait()
            out[start : start + len(piece)] = self.output[: len(piece)]
        return out

    def close(self) -> None:  # noqa: B027
        """Give the device's memory back; nothing may be submitted afterwards."""

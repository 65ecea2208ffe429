"""Feed-forward layers that an accelerator and the processor compute together (PowerInfer, PowerInfer-2)."""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_packed
from fairlead_kernels.backend import extension
from fairlead_kernels.checks import array_of, writable
from fairlead_kernels.model import DecoderConfig, LayerWeights
from fairlead_kernels.packed import PackedMatrix
from fairlead_kernels.work import ACTIVE, COMPUTED, PREDICTED, Work

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: A submission must hold as many tokens as one call for several sequences takes.
LEAST_CAPACITY = 8


class Accelerator(Protocol):
    """A device that holds some neurons of each layer, the hot ones, and computes all of them for every token.

    One submission at a time. Both calls come from the thread that computes and are part of every layer of every token:
    they should take microseconds. The interpreter lock is held in them, so waiting should release it.
    """

    @property
    def input(self) -> F32:
        """Where the normalized tokens are written before `submit`: float32 [capacity, hidden], capacity at least 8."""
        ...

    @property
    def output(self) -> F32:
        """After `wait`: what the layer's hot neurons add to each token, float32 [capacity, hidden]."""
        ...

    @property
    def active(self) -> F32:
        """After `wait`: how many hot neurons each token activated, float32 [capacity]."""
        ...

    def submit(self, layer: int, tokens: int) -> None:
        """Start computing a layer for the first tokens of the input, and return."""
        ...

    def wait(self) -> None:
        """Return when the output is there; raises what went wrong."""
        ...


class AcceleratedLayers:
    """Makes the feed-forward sources of a decoder's layers, whose accelerator they share."""

    def __init__(self, accelerator: Accelerator, config: DecoderConfig) -> None:
        """Check the accelerator's buffers.

        Raises:
            ValueError: a buffer has the wrong type or shape; names it.
        """
        capacity = len(accelerator.input)
        for name, width in (("input", config.hidden), ("output", config.hidden), ("active", None)):
            shape = (capacity,) if width is None else (capacity, width)
            writable(
                f"accelerator.{name}", array_of(f"accelerator.{name}", getattr(accelerator, name), np.float32, shape)
            )
        if capacity < LEAST_CAPACITY:
            raise ValueError(f"accelerator.input: must hold at least {LEAST_CAPACITY} tokens, got {capacity}")
        self._accelerator, self._config = accelerator, config
        module = extension()
        self._module: Any = module
        self._called: Any = None
        if module is not None:
            a = accelerator
            self._called = module.CalledAccelerator(a.submit, a.wait, a.input, a.output, a.active)

    def layer(self, cold: LayerWeights, layer: int, hot: int) -> HybridFeedForward:
        """Return the source of one layer.

        Args:
            cold: holds the neurons that the accelerator does not, as packed gate, up and down_t (no rows where the
                accelerator holds all) or as another source; its predictor knows only those. The rest of it is ignored.
            layer: what the accelerator calls the layer.
            hot: how many neurons the accelerator holds.

        Raises:
            ValueError: the cold neurons are not packed.
        """
        if cold.feed_forward is None and not isinstance(cold.gate, PackedMatrix):
            raise ValueError(f"cold.gate: must be a PackedMatrix, got {type(cold.gate).__name__}")
        native = None
        if self._module is not None:
            native = self._module.hybrid_feed_forward(cold, self._config, self._called, layer, hot)
        return HybridFeedForward(self._accelerator, self._config, cold, layer, hot, native)


class HybridFeedForward:
    """One layer: a `FeedForwardSource`. Cold and hot sums are added in that order, so results are reproducible."""

    def __init__(
        self, accelerator: Accelerator, config: DecoderConfig, cold: LayerWeights, layer: int, hot: int, native: Any
    ) -> None:
        self._accelerator, self._config, self._cold = accelerator, config, cold
        self._layer, self._hot, self._native = layer, hot, native

    @property
    def neurons(self) -> int:
        """Number of neurons, hot and cold."""
        return self._cold.neurons + self._hot

    @property
    def native(self) -> Any:
        """The extension's object, for the native decoder."""
        if self._native is None:
            raise RuntimeError("this source was made for the NumPy backend")
        return self._native

    def step(self, x: F32, neurons: I32 | None, work: Work) -> tuple[F32, I32]:
        """Compute one token in NumPy; see `FeedForwardSource`. `neurons` and the active ones returned are cold."""
        device = self._accelerator
        device.input[0] = x
        device.submit(self._layer, 1)
        try:
            y, active = self._cold_step(x, neurons, work)
        finally:
            device.wait()
        work[[PREDICTED, COMPUTED]] += self._hot
        work[ACTIVE] += int(device.active[0])
        return y + device.output[0], active

    def _cold_step(self, x: F32, neurons: I32 | None, work: Work) -> tuple[F32, I32]:
        cold, config = self._cold, self._config
        if cold.feed_forward is not None:
            return cold.feed_forward.step(x, neurons, work)
        parts = cast(Any, (cold.gate, cold.up, cold.down_t))
        chosen = np.arange(cold.neurons, dtype=np.int32) if neurons is None else neurons
        settings = (config.activation, config.threshold, chosen, cold.gate_bias)
        y, fired = reference_packed.feed_forward(*parts, x[None], *settings)
        work[[PREDICTED, COMPUTED]] += len(chosen)
        work[ACTIVE] += int(fired.sum())
        total = y[0] if cold.down_bias is None else y[0] + cold.down_bias
        return total, chosen[fired[0]]

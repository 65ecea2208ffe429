"""The reference: our own kernels on the processor, which every other accelerator is compared with."""

from __future__ import annotations

import numpy as np

from fairlead_kernels import reference_packed

from .interface import CAPACITY, Accelerator, HotNeurons, Network


class ProcessorAccelerator(Accelerator):
    """Computes when it is waited for, in the integer arithmetic of the packed kernels (NumPy)."""

    def __init__(self, network: Network, capacity: int = CAPACITY) -> None:
        """See `Accelerator`."""
        super().__init__(network, capacity)
        self._layers: dict[int, HotNeurons] = {}
        self._submitted: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """See `Accelerator`."""
        return "processor"

    def load(self, layer: int, hot: HotNeurons) -> None:
        """See `Accelerator`."""
        self._layers[layer] = hot
        self.loaded_bytes += sum(matrix.nbytes for matrix in hot.matrices)

    def submit(self, layer: int, tokens: int) -> None:
        """See `Accelerator`."""
        self._submitted = (layer, tokens)

    def wait(self) -> None:
        """See `Accelerator`."""
        if self._submitted is None:
            raise RuntimeError("wait: nothing was submitted")
        layer, tokens = self._submitted
        self._submitted = None
        hot, network = self._layers[layer], self.network
        y, fired = reference_packed.feed_forward(
            hot.gate,
            hot.up,
            hot.down_t,
            self.input[:tokens],
            network.activation,
            network.threshold,
            None,
            hot.gate_bias,
        )
        self.output[:tokens] = y
        self.active[:tokens] = fired.sum(axis=1, dtype=np.float32)

"""Hot neurons on a CUDA GPU, with the kernels of `triton_kernels`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix
from fairlead_kernels.checks import activation_code
from fairlead_kernels.packed import GROUP, padded_groups

from .interface import CAPACITY, Accelerator, AcceleratorUnavailable, HotNeurons, Network, Weights

F32 = NDArray[np.float32]
#: Tokens of one launch: the sums that its programs keep apart take room for each.
TILE = 8
#: Neurons of a program.
_ROWS = 16
_SUMMED_COLUMNS, _SUMMED_PROGRAMS, _ROUNDED_GROUPS = 32, 128, 8
#: Columns of a superblock of 16 lanes.
_SUPERBLOCK = 16 * GROUP
#: Numbers of tokens whose launches are recorded as a CUDA graph: those of decoding.
_RECORDED = 8


@dataclass(frozen=True, slots=True)
class _Layer:
    """Tensors of one layer; `scale`s are those of packed rows."""

    neurons: int
    bits: int
    data: tuple[Any, Any, Any]
    scale: tuple[Any, Any, Any]
    gated: bool
    bias: Any


class TritonAccelerator(Accelerator):
    """One GPU: a stream, pinned buffers, and a CUDA graph for each layer and number of tokens that decoding submits."""

    def __init__(
        self, network: Network, capacity: int = CAPACITY, *, device: str = "cuda", weights: Weights = "packed"
    ) -> None:
        """Open the device.

        Args:
            network, capacity: see `Accelerator`.
            device: a CUDA device of PyTorch, or "cpu" where Triton interprets (TRITON_INTERPRET=1).
            weights: how they are held; "bf16" takes 16 bits a weight.

        Raises:
            AcceleratorUnavailable: PyTorch, Triton or the device is missing.
        """
        self._torch, self._kernels = _software(device)
        self._device, self._weights = self._torch.device(device), weights
        self._cuda = self._device.type == "cuda"
        super().__init__(network, capacity)
        self._code = activation_code(network.activation)
        self._layers: dict[int, _Layer] = {}
        self._graphs: dict[tuple[int, int], Any] = {}
        hidden, torch = network.hidden, self._torch
        self._x = torch.zeros(capacity * hidden, dtype=torch.float32, device=self._device)
        self._positions = -(-hidden // _SUPERBLOCK) * _SUPERBLOCK
        # What stands for no column stays zero.
        self._rounded = torch.zeros(capacity * self._positions, dtype=torch.float32, device=self._device)
        self._y = torch.zeros(capacity * (hidden + 1), dtype=torch.float32, device=self._device)
        self._partial = torch.zeros(0, dtype=torch.float32, device=self._device)
        self._counts = torch.zeros(0, dtype=torch.int32, device=self._device)
        self._stream = torch.cuda.Stream(self._device) if self._cuda else None

    def _buffers(self, given: int, returned: int) -> tuple[F32, F32]:
        torch = self._torch
        self._given = torch.zeros(given, dtype=torch.float32, pin_memory=self._cuda)
        self._returned = torch.zeros(returned, dtype=torch.float32, pin_memory=self._cuda)
        return self._given.numpy(), self._returned.numpy()

    @property
    def name(self) -> str:
        """See `Accelerator`."""
        if not self._cuda:
            return "triton interpreter"
        return f"cuda:{self._torch.cuda.get_device_name(self._device)}"

    def load(self, layer: int, hot: HotNeurons) -> None:
        """See `Accelerator`."""
        if hot.gate.columns != self.network.hidden:
            raise ValueError(f"gate: {hot.gate.columns} columns; accepted: hidden = {self.network.hidden}")
        parts = [self._tensors(matrix) for matrix in (hot.gate, hot.gate if hot.up is None else hot.up, hot.down_t)]
        if hot.up is None:
            parts[1] = parts[0]
        bias = parts[0][1] if hot.gate_bias is None else self._torch.from_numpy(hot.gate_bias.copy()).to(self._device)
        data, scale = zip(*parts, strict=True)
        bits = 16 if self._weights == "bf16" else hot.gate.bits
        made = _Layer(len(hot), bits, data, scale, hot.up is not None, None if hot.gate_bias is None else bias)
        self._layers[layer] = made
        self.loaded_bytes += sum(one.nbytes for one in {id(t): t for t in (*data, *scale)}.values())
        self._reserve(len(hot))

    def _tensors(self, matrix: PackedMatrix) -> tuple[Any, Any]:
        """Rows and scales on the device; as many bytes as in memory, but for the rows' padding."""
        torch = self._torch
        if self._weights == "bf16":
            wide = torch.from_numpy(matrix.dequantize()).to(self._device).to(torch.bfloat16)
            return wide, wide
        lanes = padded_groups(matrix.columns)
        split = lanes * GROUP * matrix.bits // 8
        data = np.ascontiguousarray(matrix.data[:, :split])
        scale = np.ascontiguousarray(matrix.data[:, split : split + 2 * lanes]).view(np.float16)
        return torch.from_numpy(data).to(self._device), torch.from_numpy(scale).to(self._device)

    def _reserve(self, neurons: int) -> None:
        """Room for what the programs keep apart."""
        sums = TILE * -(-neurons // _ROWS)
        if sums > len(self._counts):
            self._partial = self._partial.new_zeros(sums * self._positions)
            self._counts = self._counts.new_zeros(sums)
            self._graphs.clear()

    @property
    def working_bytes(self) -> int:
        """Bytes on the device beside the weights."""
        return sum(t.nbytes for t in (self._x, self._rounded, self._y, self._partial, self._counts))

    def submit(self, layer: int, tokens: int) -> None:
        """See `Accelerator`."""
        if not self._cuda:
            self._launch(self._layers[layer], tokens)
            return
        if self._torch.cuda.current_stream(self._device) != self._stream:
            # The current one is a thread's own, and others may change it.
            self._torch.cuda.set_stream(self._stream)
        if tokens > _RECORDED:
            self._launch(self._layers[layer], tokens)
            return
        graph = self._graphs.get((layer, tokens))
        if graph is None:
            graph = self._record(layer, tokens)
        graph.replay()

    def wait(self) -> None:
        """See `Accelerator`."""
        if self._stream is not None:
            self._stream.synchronize()

    def _record(self, layer: int, tokens: int) -> Any:
        torch, made = self._torch, self._layers[layer]
        # Compiles what is not compiled yet, which a graph cannot.
        self._launch(made, tokens)
        self._stream.synchronize()  # type: ignore[union-attr]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._launch(made, tokens)
        torch.cuda.set_stream(self._stream)
        self._graphs[layer, tokens] = graph
        return graph

    def _launch(self, layer: _Layer, tokens: int) -> None:
        hidden = self.network.hidden
        self._x[: tokens * hidden].copy_(self._given[: tokens * hidden], non_blocking=True)
        rounding = (-(-hidden // (GROUP * _ROUNDED_GROUPS)), tokens)
        self._kernels.round_input[rounding](
            self._x, self._rounded, hidden, padded_groups(hidden), self._positions,
            BITS=layer.bits, GROUPS=_ROUNDED_GROUPS,
        )  # fmt: skip
        for start in range(0, tokens, TILE):
            self._launch_tile(layer, start, min(TILE, tokens - start))
        size = self.capacity + tokens * hidden
        self._returned[:size].copy_(self._y[:size], non_blocking=True)

    def _launch_tile(self, layer: _Layer, start: int, tokens: int) -> None:
        hidden, programs = self.network.hidden, -(-layer.neurons // _ROWS)
        lanes, positions = padded_groups(hidden), self._positions
        bias = layer.scale[0] if layer.bias is None else layer.bias
        x, output = self._rounded[start * positions :], self._y[self.capacity + start * hidden :]
        (gate, up, down), (gate_scale, up_scale, down_scale) = layer.data, layer.scale
        self._kernels.hot_neurons[(tokens, programs)](
            x, gate, gate_scale, up, up_scale, down, down_scale, bias, self._partial, self._counts,
            layer.neurons, hidden, lanes, positions, self.network.threshold,
            ROWS=_ROWS, BITS=layer.bits, ACTIVATION=self._code, GATED=layer.gated,
            BIASED=layer.bias is not None, WHOLE=hidden == positions,
        )  # fmt: skip
        self._kernels.sum_partials[(tokens, positions // _SUMMED_COLUMNS)](
            self._partial, self._counts, output, self._y[start:], programs, hidden, lanes, positions,
            BITS=layer.bits, COLUMNS=_SUMMED_COLUMNS, CHUNK=_SUMMED_PROGRAMS,
        )  # fmt: skip

    def close(self) -> None:
        """See `Accelerator`."""
        self._graphs.clear()
        self._layers.clear()


def _software(device: str) -> tuple[Any, Any]:
    """PyTorch and our kernels, or why not."""
    try:
        import torch
    except ImportError as error:
        raise AcceleratorUnavailable(f"PyTorch is missing ({error}); {_EXTRA}") from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        built = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
        raise AcceleratorUnavailable(f"PyTorch {torch.__version__} {built}; accepted: a CUDA GPU")
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise AcceleratorUnavailable("device cpu: Triton computes there with TRITON_INTERPRET=1 only")
    try:
        from . import triton_kernels
    except ImportError as error:
        raise AcceleratorUnavailable(f"Triton is missing ({error}); {_EXTRA}") from None
    return torch, triton_kernels


_EXTRA = "`pip install 'fairlead-sparse-inference[gpu]'` installs it"

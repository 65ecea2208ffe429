"""The hot neurons of a layer as an ONNX graph, for devices that ONNX Runtime has an execution provider for.

Packed weights stay packed: blocks of 32 integers of 4 or 8 bits with a scale (DequantizeLinear, opset 21), which a
provider either computes with or unfolds when it compiles the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from fairlead_kernels import PackedMatrix
from fairlead_kernels.quantized import GROUP

from .interface import HotNeurons, Network, Weights

#: The first opset whose DequantizeLinear takes blocks and integers of 4 bits, and an IR version that goes with it.
OPSET, IR_VERSION = 21, 10


def graph_of(hot: HotNeurons, network: Network, weights: Weights = "packed") -> ModelProto:
    """Return the graph: x float32 [tokens, hidden] to y [tokens, hidden] and active [tokens], all float32.

    Args:
        hot: the layer's hot neurons; their weights become part of the graph.
        network: activation, threshold and hidden size.
        weights: "packed" blocks, or "bf16", which takes 16 bits a weight.
    """
    made = _Graph(weights)
    gate = made.product("x", "gate", hot.gate, transposed=True)
    if hot.gate_bias is not None:
        gate = made.node("Add", gate, made.constant("gate_bias", hot.gate_bias))
    value = made.gate_function(gate, network)
    fired = made.node("Cast", made.node("Not", made.node("Equal", value, made.scalar(0.0))), to=TensorProto.FLOAT)
    made.node("ReduceSum", fired, made.constant("columns", np.array([1], np.int64)), out="active", keepdims=0)
    if hot.up is not None:
        up = made.product("x", "up", hot.up, transposed=True)
        value = made.node("Mul", value, made.node("Relu", up) if network.activation == "drelu" else up)
    made.product(value, "down", hot.down_t, transposed=False, out="y")
    return made.model(network.hidden)


class _Graph:
    """Nodes and constants in the order in which they are made."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def node(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        name = out or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an array and return its name."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def scalar(self, value: float) -> str:
        """Add a number and return its name."""
        return self.constant(f"number_{value:g}", np.array(value, np.float32))

    def product(self, x: str, name: str, matrix: PackedMatrix, *, transposed: bool, out: str | None = None) -> str:
        """Multiply by a matrix [neurons, hidden], or by its transpose."""
        wide = self._bfloat(name, matrix) if self._weights == "bf16" else self._blocks(name, matrix)
        return self.node("Gemm", x, wide, out=out, transB=int(transposed))

    def _blocks(self, name: str, matrix: PackedMatrix) -> str:
        self._constants[name] = _integers(name, matrix)
        scale = self.constant(f"{name}_scale", matrix.scales().astype(np.float32))
        return self.node("DequantizeLinear", name, scale, axis=1, block_size=GROUP)

    def _bfloat(self, name: str, matrix: PackedMatrix) -> str:
        bits = matrix.dequantize().view(np.uint32)
        # To nearest, halves to even.
        rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        tensor = helper.make_tensor(name, TensorProto.BFLOAT16, matrix.shape, rounded.tobytes(), raw=True)
        self._constants[name] = tensor
        return self.node("Cast", name, to=TensorProto.FLOAT)

    def gate_function(self, gate: str, network: Network) -> str:
        """Add the activation of the gate and its threshold; see `fairlead_kernels.reference.gate_function`."""
        if network.activation in ("drelu", "relu"):
            value = self.node("Relu", gate)
        elif network.activation == "swiglu":
            value = self.node("Mul", gate, self.node("Sigmoid", gate))
        else:
            cube = self.node("Mul", self.node("Mul", gate, gate), self.node("Mul", gate, self.scalar(0.044715)))
            argument = self.node("Mul", self.node("Add", gate, cube), self.scalar(1.5957691216057308))
            value = self.node("Mul", gate, self.node("Sigmoid", argument))
        if network.threshold > 0:
            strong = self.node("Greater", self.node("Abs", value), self.scalar(network.threshold))
            value = self.node("Where", strong, value, self.scalar(0.0))
        return value

    def model(self, hidden: int) -> ModelProto:
        """Return the whole, checked."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", hidden])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", hidden])
        active = helper.make_tensor_value_info("active", TensorProto.FLOAT, ["tokens"])
        graph = helper.make_graph(self._nodes, "hot_neurons", [x], [y, active], list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        checker.check_model(model)
        return model


def _integers(name: str, matrix: PackedMatrix) -> Any:
    values = matrix.values()
    if matrix.bits == 8:
        return numpy_helper.from_array(values, name)
    # Two's complement, the first of each pair in the lower half.
    pairs = (values.reshape(-1, 2) & 15).astype(np.uint8)
    return helper.make_tensor(
        name, TensorProto.INT4, matrix.shape, (pairs[:, 0] | pairs[:, 1] << 4).tobytes(), raw=True
    )

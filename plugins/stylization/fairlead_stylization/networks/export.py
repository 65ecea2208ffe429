"""A student as two ONNX graphs: one makes a style's code, one stylizes (torch, onnx)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..transform.tiles import length
from ..transform.torch_form import LocalStyle
from .student import Ledger, Student, recoloured

Packing = Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any] | None]]

STYLE_OUTPUTS = ("statistics", "filters", "means", "deviations")
STYLE_INPUTS = ("style", "details")
PICTURE_INPUTS = (
    "content",
    "details",
    "colours",
    "statistics",
    "filters",
    "means",
    "deviations",
    "weights",
    "strength",
    "given",
    "share",
)


class StyleGraph(nn.Module):
    """A style -> its statistics and its patches."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, style: Tensor, details: Tensor) -> tuple[Tensor, ...]:
        """[1, 3, h, w], twice -> [1, N], [1, n, D], [1, n, C], [1, n, C]."""
        code, local, _, _ = self.student.code(style, details)
        return code, local.filters, local.means, local.deviations


class PictureGraph(nn.Module):
    """A content and a mixture of styles -> a picture, and the statistics that normalized it."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self,
        content: Tensor,
        details: Tensor,
        colours: Tensor,
        code: Tensor,
        filters: Tensor,
        means: Tensor,
        deviations: Tensor,
        weights: Tensor,
        strength: Tensor,
        given: Tensor,
        share: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Content and what it is lent [1, 3, H, W], map [1, 3, 4], code [1, N], patches of S styles, weights [S]."""
        local = LocalStyle(filters, means, deviations, self.student.shape.matching, weights)
        ledger = Ledger(given, share)
        seen = recoloured(content, colours)
        picture = self.student.decode(seen, details, code, local, strength, ledger)
        return picture.clamp(0, 1), torch.cat(ledger.used, 1)


def export(student: Student, folder: Path, variant: str) -> tuple[Path, Path]:
    """Write `VARIANT-style.onnx` and `VARIANT-picture.onnx`, weights as 8-bit numbers with a scale a channel.

    The weights are made 32-bit again when a session opens; sessions compute as before. Sides of contents are
    multiples of 8.
    """
    student = student.eval()
    style, content = torch.rand(1, 3, 64, 72), torch.rand(1, 3, 64, 80)
    outputs = StyleGraph(student)(style, style)
    total = sum(map(length, student.shape.segments))
    rest = (
        content,
        torch.eye(3, 4)[None],
        *outputs,
        torch.ones(1),
        torch.ones(1),
        torch.zeros(1, total),
        torch.zeros(1),
    )
    places = {2: "height", 3: "width"}
    patches = {0: "styles", 1: "patches"}
    files = folder / f"{variant}-style.onnx", folder / f"{variant}-picture.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = dict.fromkeys(STYLE_INPUTS, places)
        write_graph(StyleGraph(student), (style, style), files[0], list(STYLE_INPUTS), list(STYLE_OUTPUTS), axes)
        axes = {
            "content": places,
            "details": places,
            "filters": patches,
            "means": patches,
            "deviations": patches,
            "weights": {0: "styles"},
        }
        write_graph(PictureGraph(student), (content, *rest), files[1], list(PICTURE_INPUTS), ["picture", "used"], axes)
    for file in files:
        shrink(file, {"variant": variant, "shape": json.dumps(asdict(student.shape))}, quantized)
    return files


def write_graph(
    graph: nn.Module, inputs: tuple[Tensor, ...], file: Path, names: list[str], outputs: list[str], axes: dict
) -> None:
    """Write a graph, with names of what goes in and comes out and of sides that are free."""
    torch.onnx.export(
        graph,
        inputs,
        str(file),
        dynamo=False,
        opset_version=17,
        input_names=names,
        output_names=outputs,
        dynamic_axes=axes,
    )


def shrink(file: Path, told: dict[str, str], packed: Packing) -> None:
    """Large weights as smaller numbers; Cast and Mul make them whole again, once, when a session opens.

    Args:
        file: a graph, which is written anew.
        told: what it says about itself.
        packed: what weights are kept as: codes and what they are multiplied by, or codes alone.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(file)
    graph, kept, nodes = model.graph, [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2 or values.size < 512 or values.dtype.kind != "f":
            kept.append(tensor)
            continue
        codes, scales = packed(values)
        name = tensor.name
        whole = name if scales is None else f"{name}_cast"
        kept.append(numpy_helper.from_array(codes, f"{name}_codes"))
        nodes.append(helper.make_node("Cast", [f"{name}_codes"], [whole], to=onnx.TensorProto.FLOAT))
        if scales is not None:
            kept.append(numpy_helper.from_array(scales, f"{name}_scales"))
            nodes.append(helper.make_node("Mul", [whole, f"{name}_scales"], [name]))
    rest = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*nodes, *rest])
    helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def quantized(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights [O, ...] as int8 codes, and float32 scales [O, 1, ...]: the largest of each channel becomes 127."""
    largest = np.abs(values).reshape(len(values), -1).max(1)
    scales = (np.maximum(largest, 1e-12) / 127).astype(np.float32).reshape(-1, *([1] * (values.ndim - 1)))
    return np.round(values / scales).astype(np.int8), scales

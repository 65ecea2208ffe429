"""A refiner as two ONNX graphs, its slope written out: one sees a style, one refines pictures (torch, onnx).

Runtimes of exported graphs have no gradients. From l = sum over layers of w ((m - m*)^2 + (s - s*)^2), with means m and
deviations s, the slope at a feature f, times the number of the layer's places, is 2 w (m - m* + (s - s*) (f - m) / s),
plus what the layer above sends back: through its rectifier, where it was not 0, and its convolution, by kernels that
are turned round. The mean of 2 x 2 places sends a quarter of a slope to each; as there are four times as many of them,
slopes times the number of their layer's places are passed on as they are.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..transform.strengths import of_steps
from ..transform.tiles import Segment, length
from ..transform.torch_form import affine
from .export import shrink, write_graph
from .refiner import EPSILON, TINY, Refiner
from .student import Ledger

#: Layers at 1/2; those after them are at 1/4.
FINE = 2
#: Times this, features that are not 0 are more than 1.
LARGE = 1e30
PLACES = {2: "height", 3: "width"}


def segments_of(refiner: Refiner) -> list[Segment]:
    """What a ledger notes, in order."""
    once: list[Segment] = [*(("deviations", size) for size in refiner.shape.channels), ("means", 1)]
    return once * refiner.shape.steps


def _fixed(tensors: Iterable[Tensor]) -> nn.ParameterList:
    # Parameters: constants of a trace would be written once for every step.
    return nn.ParameterList(nn.Parameter(tensor.detach().contiguous(), requires_grad=False) for tensor in tensors)


class Seeing(nn.Module):
    """A refiner's layers over pixels: what 2 x 2 pixels and a convolution are is one of 6 x 6 by twos."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        kernels, biases = zip(*((layer.weight, layer.bias) for layer in refiner.layers), strict=True)
        parted = kernels[0].reshape(-1, 3, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
        self.kernels, self.biases = _fixed([parted.reshape(-1, 3, 6, 6), *kernels[1:]]), _fixed(biases)
        # Colours are seen as twice their number less 1.
        self.back = _fixed(kernel.flip(2, 3).transpose(0, 1) for kernel in (2 * kernels[0], *kernels[1:]))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Of a picture [1, 3, H, W] in [0, 1], sides multiples of 4: after each layer's rectifier."""
        seen, found = 2 * picture - 1, []
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if index == FINE:
                seen = functional.avg_pool2d(seen, 2)
            stride, around = (1, 1) if index else (2, 2)
            seen = functional.relu(functional.conv2d(seen, kernel, bias, stride, around))
            found.append(seen)
        return found


def statistics(features: Tensor) -> Tensor:
    """Means, then deviations, [1, 2 C], of features [1, C, H, W]."""
    mean = functional.adaptive_avg_pool2d(features, 1)
    variance = (functional.adaptive_avg_pool2d(features.square(), 1) - mean.square()).clamp_min(0)
    return torch.cat([mean, (variance + EPSILON).sqrt()], 1).flatten(1)


def _passes(features: Tensor) -> Tensor:
    """1 where rectified features are not 0. Runtimes take several times as long to compare, or for signs."""
    return (features * LARGE).clamp(0, 1)


class TargetGraph(nn.Module):
    """A style -> where steps go."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        self.seeing = Seeing(refiner)

    def forward(self, style: Tensor) -> Tensor:
        """[1, 3, h, w], sides multiples of 4 -> [1, M]."""
        return torch.cat([statistics(features) for features in self.seeing(style)], 1)


class RefinerGraph(nn.Module):
    """A picture after all steps, without anything that looks for slopes."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        self.seeing, self.shape = Seeing(refiner), refiner.shape
        self.weights = _fixed(weight.exp() for weight in refiner.weights)
        self.gain = float(refiner.gains.detach().exp())
        self.hold = 0.0 if refiner.hold is None else float(refiner.hold.detach().exp())

    def forward(
        self, picture: Tensor, target: Tensor, strength: Tensor, given: Tensor, share: Tensor, *content: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Picture [1, 3, H, W], target [1, M], strength [1], statistics [1, N] and whether they count.

        The content, [1, 3, H, W], only where the shape holds on to it.
        """
        ledger, wanted = Ledger(given, share), target.split([2 * size for size in self.shape.channels], 1)
        kept = self.seeing(content[0])[-1] if content else None
        for _ in range(self.shape.steps):
            picture = self._stepped(picture, wanted, of_steps(strength), kept, ledger)
        return picture, torch.cat(ledger.used, 1)

    def _stepped(
        self, picture: Tensor, wanted: tuple[Tensor, ...], part: Tensor, kept: Tensor | None, ledger: Ledger
    ) -> Tensor:
        features = self.seeing(picture)
        own = [ledger.note(statistics(found)) for found in features]
        apart = [one - other for one, other in zip(own, wanted, strict=True)]
        loss = sum(
            (weight * one.square()).sum(1, keepdim=True) for weight, one in zip(self.weights, apart, strict=True)
        )
        slope = self._slope(features, own, apart, kept)
        square = ledger.note(12 * slope.square().mean((1, 2, 3), keepdim=True).flatten(1))
        way = (part * self.gain * loss / (square + TINY))[:, :, None, None]
        return (picture - functional.pixel_shuffle(way * slope, 2)).clamp(0, 1)

    def _slope(self, features: list[Tensor], own: list[Tensor], apart: list[Tensor], kept: Tensor | None) -> Tensor:
        """At 2 x 2 pixels' colours, [1, 12, H / 2, W / 2]."""
        above = None if kept is None else 2 * self.hold * (features[-1] - kept)
        for layer in reversed(range(len(features))):
            slope = self._own_slope(layer, features[layer], own[layer], apart[layer])
            slope = (slope if above is None else slope + above) * _passes(features[layer])
            above = functional.conv2d(slope, self.seeing.back[layer], padding=1)
            if layer == FINE:
                above = functional.interpolate(above, scale_factor=2.0)
        assert above is not None
        return above

    def _own_slope(self, layer: int, features: Tensor, own: Tensor, apart: Tensor) -> Tensor:
        mean, deviation = own[:, :, None, None].split(features.shape[1], 1)
        by_mean, by_deviation = (2 * self.weights[layer] * apart)[:, :, None, None].split(features.shape[1], 1)
        scale = by_deviation / deviation
        return affine(features, scale, by_mean - scale * mean)


def export_refiner(refiner: Refiner, folder: Path, variant: str) -> tuple[Path, Path]:
    """Write `VARIANT-refiner-style.onnx` and `VARIANT-refiner.onnx`.

    Weights that are 16-bit floats are kept as such, and made 32-bit when a session opens. Sides are multiples of 4.
    """
    refiner, shape = refiner.eval(), refiner.shape
    files = folder / f"{variant}-refiner-style.onnx", folder / f"{variant}-refiner.onnx"
    picture, told = torch.rand(1, 3, 64, 80), {"variant": variant, "shape": json.dumps(asdict(shape))}
    total = sum(map(length, segments_of(refiner)))
    rest = torch.zeros(1, 2 * sum(shape.channels)), torch.ones(1), torch.zeros(1, total), torch.zeros(1)
    content = (picture,) if shape.content else ()
    names = ["picture", "target", "strength", "given", "share", *(["content"] if content else [])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_graph(TargetGraph(refiner), (picture,), files[0], ["style"], ["target"], {"style": PLACES})
        axes = dict.fromkeys(("picture", "refined", *names[5:]), PLACES)
        fed, made = (picture, *rest, *content), ["refined", "used"]
        write_graph(RefinerGraph(refiner), fed, files[1], names, made, axes)
    for file in files:
        shrink(file, told, halved)
    return files


def halved(values: NDArray[Any]) -> tuple[NDArray[Any], None]:
    """Weights as 16-bit floats where these are the same numbers, as they are elsewhere."""
    halves = values.astype(np.float16)
    return (halves if np.array_equal(halves, values) else values), None

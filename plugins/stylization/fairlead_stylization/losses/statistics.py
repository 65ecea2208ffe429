"""Content and style losses: activations, and their means and deviations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

Activations = Mapping[str, Tensor]
#: Mean and standard deviation, [B, C] each, of every layer.
Look = Mapping[str, tuple[Tensor, Tensor]]

EPSILON = 1e-5


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the picture, [B, C] each, of [B, C, H, W]."""
    if features.dtype is torch.bfloat16:
        return _HalfMoments.apply(features)
    mean = features.mean((2, 3))
    variance = features.square().mean((2, 3)) - mean.square()
    return mean, (variance.clamp_min(0) + EPSILON).sqrt()


class _HalfMoments(torch.autograd.Function):
    """Moments of bfloat16 activations, as products with ones: ten times as fast as reductions."""

    @staticmethod
    def forward(context: Any, features: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        places = features.permute(0, 2, 3, 1).flatten(1, 2)
        ones = features.new_ones(len(places), 1, places.shape[1])
        mean = torch.bmm(ones, places).float()[:, 0] / places.shape[1]
        square = torch.bmm(ones, places * places).float()[:, 0] / places.shape[1]
        deviation = ((square - mean.square()).clamp_min(0) + EPSILON).sqrt()
        context.save_for_backward(features, mean, deviation)
        return mean, deviation

    @staticmethod
    def backward(context: Any, mean_slope: Tensor, deviation_slope: Tensor) -> Tensor:  # type: ignore[override]
        features, mean, deviation = context.saved_tensors
        places = features.shape[2] * features.shape[3]
        scale = deviation_slope / deviation / places
        shift = (mean_slope / places - scale * mean)[:, :, None, None]
        return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype)[:, :, None, None])


def _mean_square(difference: Tensor) -> Tensor:
    return difference.float().square().mean(tuple(range(1, difference.ndim)))


def content_loss(got: Activations, content: Activations, layers: Iterable[str]) -> Tensor:
    """Mean square difference of activations, summed over layers: [B]."""
    return torch.stack([_mean_square(got[layer] - content[layer]) for layer in layers]).sum(0)


def style_loss(got: Activations, style: Activations, layers: Iterable[str]) -> Tensor:
    """Mean square difference of means and of deviations, summed over layers: [B]."""
    names = list(layers)
    return look_loss(got, look_of(style, names), names)


def look_of(style: Activations, layers: Iterable[str]) -> Look:
    """All that a style loss compares of a style: much smaller than its activations."""
    return {layer: moments(style[layer]) for layer in layers}


def look_loss(got: Activations, look: Look, layers: Iterable[str]) -> Tensor:
    """`style_loss` of a style whose moments are known: [B]."""
    losses = []
    for layer in layers:
        pairs = zip(moments(got[layer]), look[layer], strict=True)
        losses.append(sum(_mean_square(a - b) for a, b in pairs))
    return torch.stack(losses).sum(0)


Seen = tuple[Tensor, Activations]


def identity_loss(got: Seen, own: Seen) -> Tensor:
    """A picture stylized by itself stays itself: 50 times the picture's difference and once the activations': [B].

    The paper's weights (section 3.3). Both arguments are pictures [B, 3, H, W] in [0, 1] with their
    activations, of which all of the second's layers are compared.
    """
    return 50 * _mean_square(got[0] - own[0]) + content_loss(got[1], own[1], own[1].keys())

"""The refiner: a picture goes down the slope of a style loss, a step or a few (torch).

A small network sees pictures much as VGG-19 does: not its features count, but that the slope of the style loss over
them (means and deviations of each channel, as in AdaIN's and TSSAT's losses) leads where that of VGG-19 leads. It is
trained for that: the picture after the step is what VGG-19 judges, and the slope's own slope goes to the weights. A
network that draws styles has to have learned each kind of them; a slope is right for styles that nobody trained on.

The length of a step is Polyak's (Introduction to Optimization, 1987, section 5.3) for a loss that can become 0, times a
gain that is learned: l / |slope|^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..transform.strengths import of_steps
from .shape import RefinerShape

EPSILON = 1e-5
TINY = 1e-12


def statistics(features: Tensor) -> Tensor:
    """Means, then deviations, over the picture: [B, C, H, W] -> [B, 2 C]."""
    mean = features.mean((2, 3))
    variance = (features.square().mean((2, 3)) - mean.square()).clamp_min(0)
    return torch.cat([mean, (variance + EPSILON).sqrt()], 1)


@dataclass(frozen=True)
class Target:
    """Where steps go.

    Attributes:
        statistics: of the style at each layer, [B, 2 C] each.
        content: features of the content at the last layer, [B, C, H / 4, W / 4]; None where they do not count.
    """

    statistics: list[Tensor]
    content: Tensor | None = None


class Refiner(nn.Module):
    """Four layers over 2 x 2 pixels' colours: two at 1/2, and after a mean of 2 x 2 places two at 1/4.

    Args:
        shape: its channels, how many steps, and whether the content counts.
    """

    def __init__(self, shape: RefinerShape) -> None:
        super().__init__()
        self.shape = shape
        ends = zip((12, *shape.channels), shape.channels, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in ends)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        #: Logarithms: how much each channel's means and deviations count, and of the gain of every step.
        self.weights = nn.ParameterList(torch.zeros(2 * size) for size in shape.channels)
        self.gains = nn.Parameter(torch.zeros(1))
        self.hold = nn.Parameter(torch.full((1,), -5.0)) if shape.content else None

    def features(self, picture: Tensor) -> list[Tensor]:
        """Of pictures [B, 3, H, W] in [0, 1], sides multiples of 4: after each layer's rectifier."""
        seen = functional.pixel_unshuffle(2 * picture - 1, 2)
        found: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            if index == 2:
                seen = functional.avg_pool2d(seen, 2)
            seen = functional.relu(layer(seen))
            found.append(seen)
        return found

    def target(self, style: Tensor, content: Tensor | None = None) -> Target:
        """Of styles [B, 3, h, w], and of contents [B, 3, H, W] where they count."""
        kept = self.features(content)[-1] if content is not None and self.shape.content else None
        return Target([statistics(features) for features in self.features(style)], kept)

    def loss(self, features: list[Tensor], target: Target) -> tuple[Tensor, Tensor]:
        """The style loss, and all that the slope is of, [B] each."""
        style = torch.zeros(len(features[0]), device=features[0].device)
        for own, wanted, weight in zip(features, target.statistics, self.weights, strict=True):
            style = style + ((statistics(own) - wanted).square() * weight.exp()).sum(1)
        if target.content is None or self.hold is None:
            return style, style
        distance = (features[-1] - target.content).square().sum(1).mean((1, 2))
        return style, style + self.hold.exp() * distance

    def step(self, picture: Tensor, target: Target, share: Tensor) -> Tensor:
        """One step; its length is times `share`, [B]."""
        with torch.enable_grad():
            picture = picture if picture.requires_grad else picture.detach().requires_grad_()
            style, whole = self.loss(self.features(picture), target)
            (slope,) = torch.autograd.grad(whole.sum(), picture, create_graph=self.training)
            length = share * self.gains.exp() * style / (slope.square().sum((1, 2, 3)) + TINY)
            return (picture - length[:, None, None, None] * slope).clamp(0, 1)

    def forward(self, picture: Tensor, target: Target, strength: Tensor | None = None) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1] -> refined ones, by strengths [B]."""
        share = torch.ones(len(picture), device=picture.device) if strength is None else of_steps(strength)
        for _ in range(self.shape.steps):
            picture = self.step(picture, target, share)
        return picture

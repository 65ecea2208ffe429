"""Measures over VGG-19's activations: content loss, style loss, feature distance (torch)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadPicture
from ..losses.statistics import Look, content_loss, look_loss, look_of
from ..networks.vgg import Vgg19

Picture = NDArray[np.float32]

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


@dataclass(frozen=True)
class Judge:
    """Measures by one network.

    Attributes:
        network: VGG-19, to relu3_1 at least.
    """

    network: Vgg19

    @torch.no_grad()
    def activations(self, picture: Picture) -> dict[str, Tensor]:
        """Of a picture [H, W, 3] in [0, 1].

        Raises:
            BadPicture: another shape.
        """
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise BadPicture(f"picture: shape {picture.shape}; accepted: [H, W, 3]")
        tensor = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)[None]
        return self.network(tensor, LAYERS)

    def content(self, got: Picture, content: Picture) -> float:
        """Lc: mean square difference at relu3_1."""
        return float(content_loss(self.activations(got), self.activations(content), LAYERS[-1:])[0])

    def look(self, style: Picture) -> Look:
        """What `style` compares of a style, for many results: a large painting's activations take gigabytes."""
        return look_of(self.activations(style), LAYERS)

    def style(self, got: Picture, style: Picture | Look) -> float:
        """Ls: mean square difference of means and deviations at relu1_1, relu2_1 and relu3_1, summed."""
        look = self.look(style) if isinstance(style, np.ndarray) else style
        return float(look_loss(self.activations(got), look, LAYERS)[0])

    def distance(self, first: Picture, second: Picture) -> float:
        """Mean square difference of activations of unit length at every place, over relu1_1, relu2_1 and relu3_1.

        LPIPS (CVPR 2018) without its trained weights, on another backbone: not comparable with LPIPS.
        """
        one, two = self.activations(first), self.activations(second)
        differences = [(_unit(one[layer]) - _unit(two[layer])).square().sum(1).mean() for layer in LAYERS]
        return float(torch.stack(differences).mean())


def _unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=1, keepdim=True).clamp_min(1e-10)

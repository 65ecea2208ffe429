"""Colorization: what colours a grey picture may have had."""

from __future__ import annotations

import torch
from torch import nn

from .colours import to_rgb, to_ycbcr
from .small_unet import SmallUnet


class Colorization(nn.Module):
    """Chrominance from luminance; luminance stays as it is, as far as its colours exist."""

    def __init__(self) -> None:
        super().__init__()
        self.network = SmallUnet(1, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w], whose colours are not looked at, to [n, 3, h, w]."""
        luminance = to_ycbcr(pictures)[:, :1]
        return to_rgb(torch.cat([luminance, self.chroma(luminance)], dim=1)).clamp(0, 1)

    def chroma(self, luminance: torch.Tensor) -> torch.Tensor:
        """Cb and Cr in [-0.5, 0.5], [n, 2, h, w], of luminance [n, 1, h, w]."""
        return 0.5 * torch.tanh(self.network(luminance - 0.5))

"""Inpainting: what may have been in a hole."""

from __future__ import annotations

import torch
from torch import nn

from ...errors import BadPicture
from .small_unet import SmallUnet


class Inpainting(nn.Module):
    """Fills holes; what is known stays as it is.

    The network sees the picture with its holes grey, and where they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = SmallUnet(4, 3)

    def forward(self, pictures: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w] and hole [h, w] or [n, 1, h, w], 1 where nothing is known, to [n, 3, h, w]."""
        mask = hole.to(pictures).reshape(-1, 1, *hole.shape[-2:])
        if mask.shape[-2:] != pictures.shape[-2:]:
            raise BadPicture(f"hole {tuple(hole.shape)}; accepted: that of the picture, {tuple(pictures.shape[-2:])}")
        mask = mask.expand(len(pictures), -1, -1, -1)
        known = pictures * (1 - mask)
        made = torch.sigmoid(self.network(torch.cat([known - 0.5 * (1 - mask), mask], dim=1)))
        return known + made * mask

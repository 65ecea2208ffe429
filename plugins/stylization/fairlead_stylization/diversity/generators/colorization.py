"""Colorization: what colours a grey picture may have had."""

from __future__ import annotations

import torch
from torch import nn

from .colours import to_rgb, to_ycbcr, within
from .small_unet import SmallUnet

#: Of chrominance as the network sees it: most of it is small beside luminance.
_SEEN = 4.0


class Colorization(nn.Module):
    """Chrominance from luminance, which stays as it is.

    Colours that a picture has are taken as hints of those that it shall have (after Zhang et al., SIGGRAPH 2017): grey
    ones give none. A search for different results changes the hints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = SmallUnet(3, 2)

    def forward(self, pictures: torch.Tensor, luminance: torch.Tensor | None = None) -> torch.Tensor:
        """Pictures [n, 3, h, w] to [n, 3, h, w].

        Args:
            pictures: grey, or with hints.
            luminance: [n or 1, 1, h, w], what results have; None: that of the pictures.
        """
        ycbcr = to_ycbcr(pictures)
        kept = ycbcr[:, :1] if luminance is None else luminance.expand(len(pictures), -1, -1, -1)
        return within(to_rgb(torch.cat([kept, self.chroma(kept, ycbcr[:, 1:])], dim=1)), kept)

    def chroma(self, luminance: torch.Tensor, hints: torch.Tensor | None = None) -> torch.Tensor:
        """Cb and Cr in [-0.5, 0.5], [n, 2, h, w], of luminance [n, 1, h, w] and hints [n, 2, h, w] of them."""
        hints = torch.zeros_like(luminance).expand(-1, 2, -1, -1) if hints is None else hints
        seen = torch.cat([luminance - 0.5, _SEEN * hints], dim=1)
        return 0.5 * torch.tanh(self.network(seen))

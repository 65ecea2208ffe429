"""RGB to luminance and chrominance and back (ITU-R BT.601, full range), in torch."""

from __future__ import annotations

import torch

_TO = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FROM = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def to_ycbcr(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [n, 3, h, w] in [0, 1] to Y in [0, 1] and Cb, Cr in [-0.5, 0.5]."""
    return torch.einsum("dc,nchw->ndhw", torch.tensor(_TO).to(pictures), pictures)


def to_rgb(ycbcr: torch.Tensor) -> torch.Tensor:
    """The other way; values may lie beyond [0, 1]."""
    return torch.einsum("dc,nchw->ndhw", torch.tensor(_FROM).to(ycbcr), ycbcr)


def within(pictures: torch.Tensor, luminance: torch.Tensor) -> torch.Tensor:
    """Pictures [n, 3, h, w] as saturated as [0, 1] allows at their luminance [n, 1, h, w], which stays."""
    luminance = luminance.clamp(0, 1)
    colour = pictures - luminance
    room = torch.where(colour > 0, 1 - luminance, luminance) / colour.abs().clamp(min=1e-6)
    return (luminance + colour * room.amin(dim=1, keepdim=True).clamp(max=1)).clamp(0, 1)

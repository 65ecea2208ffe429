"""Holes filled smoothly from what is around them, in torch: as membranes and as thin plates.

Both are found from coarse to fine: push and pull (Gortler et al., SIGGRAPH 1996) says what a place begins with at each
size, a few steps with momentum smooth it. A membrane (harmonic) goes on with colours and never overshoots; a thin plate
(biharmonic) goes on with slopes too, which is nearer in narrow holes and wilder in wide ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

TINY = 1e-8
#: Where nothing at all is known.
GREY = 0.5
#: Steps at each size, and how much of a step the next one goes on with.
STEPS, MOMENTUM = 8, 0.8


def membrane(pictures: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Fill holes so that every place is the mean of its neighbours; what is known stays.

    Args:
        pictures: [n, 3, h, w].
        mask: [n, 1, h, w], 1 where nothing is known; what pictures have there is not looked at.
    """
    return _filled(pictures, mask, lambda whole: curvature(whole) / 5)


def plate(pictures: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Fill holes so that they bend as little as they can; arguments as of `membrane`. Results are in [0, 1]."""
    return _filled(pictures, mask, lambda whole: curvature(curvature(whole)) / -40).clamp(0, 1)


def _filled(pictures: torch.Tensor, mask: torch.Tensor, step: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    known = 1 - mask
    levels = [(pictures * known, known)]
    while max(levels[-1][0].shape[2:]) > 1:
        levels.append(_halved(*levels[-1]))
    whole = torch.full_like(levels[-1][0], GREY)
    for colours, share in reversed(levels):
        size = colours.shape[2:]
        whole = whole if whole.shape[2:] == size else _doubled(whole, size)
        whole = _smoothed(whole, colours / (share + TINY), share, step)
    return pictures * known + whole * mask


def _smoothed(
    whole: torch.Tensor, own: torch.Tensor, share: torch.Tensor, step: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """A size's colours after all steps: of a place that is known in part, so much is its own."""
    whole, moved = torch.lerp(whole, own, share), torch.zeros_like(whole)
    for _ in range(STEPS):
        ahead = torch.lerp(whole + MOMENTUM * moved + step(whole), own, share)
        whole, moved = ahead, ahead - whole
    return whole


def curvature(whole: torch.Tensor) -> torch.Tensor:
    """Sum of the four neighbours less four times the place, edges going on; [n, c, h, w]."""
    wide = functional.pad(whole, (1, 1, 1, 1), mode="replicate")
    beside = wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
    return wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + beside - 4 * whole


def _halved(colours: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of 2 x 2 places' colours, and how much of them is known; at most 1, so that it spreads quickly."""
    padding = (0, colours.shape[3] % 2, 0, colours.shape[2] % 2)
    colours, share = (4 * functional.avg_pool2d(functional.pad(part, padding), 2) for part in (colours, share))
    kept = share.clamp(max=1)
    return colours * kept / (share + TINY), kept


def _doubled(whole: torch.Tensor, size: torch.Size) -> torch.Tensor:
    grown = functional.interpolate(whole, scale_factor=2.0, mode="bilinear", align_corners=False)
    return grown[..., : size[0], : size[1]]

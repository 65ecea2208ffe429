"""Slopes of what the network's own has none of: the map of colours, and which of a style's details a tile is lent.

Both are computed from the content before the network is. Without slopes through them a search believes that colours
which the map takes away again count, and does not know that a tile which is lent something else looks different.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...transform.colours import SMALL, Colours
from ...transform.covariances import apart, moments, roots
from ...transform.details import CELL, FADE, HOP, PATCH, Details
from ...transform.strengths import of_colours

#: Squared difference of colours by which a place of a style may fit worse and still count as one that may be taken.
NEARLY = 1e-3
#: Pixels of a tile's side, with what fades.
_SIDE = HOP * CELL + FADE


def sloping_maps(colours: Colours, contents: Tensor, strength: Tensor) -> Tensor:
    """Maps [B, 3, 4] of the colours of contents [B, 3, H, W] to a style's, by strengths [B]: those of `colour_map`."""
    (mean, covariance), small = apart(moments(contents)), SMALL * torch.eye(3, dtype=torch.float64)
    wanted = torch.from_numpy(colours.covariance).double() + small
    root, inverse = roots(covariance.double() + small)
    matrix = (inverse @ roots(root @ wanted @ root)[0] @ inverse).to(contents.dtype)
    offset = torch.from_numpy(np.asarray(colours.mean, np.float32))[:, None] - matrix @ mean
    return torch.lerp(torch.eye(3, 4), torch.cat([matrix, offset], 2), of_colours(strength)[:, None, None])


class SlopingDetails:
    """Details that a style lends, with slopes.

    What is lent is exactly `Details.carried`. Its slope is that of a softmax over the places that fit nearly as well as
    the nearest one (a straight-through estimate, Bengio et al., 2013): a tile's colours are moved towards places whose
    details would be of use.

    Args:
        details: of the style.
    """

    def __init__(self, details: Details) -> None:
        self._details, self._patches = details, torch.from_numpy(details.patches)
        self._blocks = _blocks(details)
        kinds = torch.from_numpy(details.kinds_of_places())
        self._other = torch.stack([kinds != kind for kind in range(details.kinds[0] * details.kinds[1])])

    def lent(self, contents: Tensor, maps: Tensor) -> Tensor:
        """What contents [B, 3, H, W] are lent under maps of colours [B, 3, 4]: [B, 3, H, W]."""
        pairs = zip(contents.detach().permute(0, 2, 3, 1).numpy(), maps.detach().numpy(), strict=True)
        lent = np.stack([self._details.carried(np.ascontiguousarray(content), mapping) for content, mapping in pairs])
        planes = torch.from_numpy(lent).permute(0, 3, 1, 2)
        if not (contents.requires_grad or maps.requires_grad):
            return planes
        return _Lent.apply(self._shares(contents, maps), planes, self._blocks)  # type: ignore[no-any-return]

    def _shares(self, contents: Tensor, maps: Tensor) -> Tensor:
        """How likely each tile takes each of n places, [B, tiles, n]."""
        wanted, kinds = self._wanted(contents, maps)
        # |a - b|^2 but for what is the same for all places.
        lengths = self._patches.square().sum(1)
        distances = lengths - 2 * wanted @ self._patches.T
        return (-distances / NEARLY).masked_fill(self._other[kinds], float("-inf")).softmax(2)

    def _wanted(self, contents: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """What tiles want, [B, tiles, D], as `Details.carried` compares it, and their kinds, [tiles]."""
        height, width = contents.shape[2:]
        whole = functional.pad(contents, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        cells = functional.avg_pool2d(whole, CELL)
        coloured = (maps[:, :, :3] @ cells.flatten(2) + maps[:, :, 3:]).reshape(cells.shape)
        rows, columns, places, kinds = self._details.tiles(cells.shape[2], cells.shape[3])
        around = functional.unfold(functional.pad(coloured, (PATCH // 2,) * 4, mode="replicate"), PATCH)
        around = around.reshape(len(contents), 3, -1, cells.shape[2], cells.shape[3])[:, :, :, rows][..., columns]
        colours = around.permute(0, 3, 4, 2, 1).reshape(len(contents), len(rows) * len(columns), -1)
        colours = colours / colours.shape[2] ** 0.5
        where = torch.from_numpy(places).expand(len(contents), -1, -1)
        return torch.cat([colours, where], 2), torch.from_numpy(kinds).long()


class _Lent(torch.autograd.Function):
    """Details as they are; their slope goes to the share that each tile has of each place."""

    @staticmethod
    def forward(context: Any, shares: Tensor, lent: Tensor, blocks: Tensor) -> Tensor:  # type: ignore[override]
        context.save_for_backward(shares, blocks)
        return lent

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        shares, blocks = context.saved_tensors
        below, beside = (-length % (HOP * CELL) + FADE // 2 for length in slope.shape[2:])
        rows, columns = (_coverage(length) for length in slope.shape[2:])
        padded = functional.pad(slope / (rows[:, None] * columns), (FADE // 2, beside, FADE // 2, below))
        tiles = functional.unfold(padded, _SIDE, stride=HOP * CELL).transpose(1, 2)
        return (tiles @ blocks.T).reshape(shares.shape), None, None


def _blocks(details: Details) -> Tensor:
    """What a tile adds to a picture where it takes each of n places, fading at its sides: [n, 3 side side]."""
    fine = torch.from_numpy(details.fine).permute(2, 0, 1)[None, :, CELL // 2 :, CELL // 2 :]
    rows, columns = details.size
    found = functional.unfold(fine, _SIDE, stride=CELL)[0].T
    across = (fine.shape[3] - _SIDE) // CELL + 1
    found = found.reshape(-1, across, found.shape[1])[:rows, :columns].reshape(rows * columns, -1)
    fade = _fade()
    return found * (fade[:, None] * fade).flatten().repeat(3)


def _fade() -> Tensor:
    """How much of a tile shows along an axis, [side]: together with its neighbours' it is 1."""
    fade = torch.ones(_SIDE)
    fade[:FADE] = (torch.arange(FADE) + 0.5) / FADE
    fade[-FADE:] = fade[:FADE].flip(0)
    return fade


def _coverage(length: int) -> Tensor:
    """How much of tiles shows along an axis, [length]: less than 1 at ends, where tiles have no neighbours."""
    tiles = -(-length // (HOP * CELL))
    fades = _fade().expand(tiles, -1).T[None]
    whole = functional.fold(fades, (1, tiles * HOP * CELL + FADE), (1, _SIDE), stride=(1, HOP * CELL))
    return whole.flatten()[FADE // 2 : FADE // 2 + length]

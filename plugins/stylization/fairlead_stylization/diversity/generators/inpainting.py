"""Inpainting: what may have been in a hole."""

from __future__ import annotations

import torch
from torch import nn

from ...errors import BadPicture
from .filling import membrane, plate
from .small_unet import SmallUnet

#: Of differences as the network sees and gives them: they are small beside colours.
_SEEN = 4.0


class Inpainting(nn.Module):
    """Fills holes; what is known stays as it is.

    A hole is filled as a membrane first (`start`). The network finishes that (`finish`): it says how much each place is
    a thin plate's, and adds what is missing. What else a hole begins with is taken as a hint of what shall be there: a
    search for different results changes that beginning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = SmallUnet(10, 4)

    def forward(self, pictures: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w] and hole [h, w] or [n, 1, h, w], 1 where nothing is known, to [n, 3, h, w].

        Raises BadPicture for a hole of another size.
        """
        return self.finish(self.start(pictures, hole), hole)

    def start(self, pictures: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        """Pictures whose holes are filled smoothly, by no network."""
        return membrane(pictures, _mask(pictures, hole))

    def fills(self, pictures: torch.Tensor, hole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `finish` looks at beside a beginning: a membrane, and by how much a thin plate differs from it.

        Both go by what is known alone: they are the same for all beginnings of a picture.
        """
        mask = _mask(pictures, hole)
        smooth = membrane(pictures, mask)
        return smooth, plate(pictures, mask) - smooth

    def finish(
        self, begun: torch.Tensor, hole: torch.Tensor, fills: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Pictures that have something in their holes to finished ones, [n, 3, h, w]; ``fills`` where they are known.

        Those of one picture serve for several of its beginnings.
        """
        mask = _mask(begun, hole)
        smooth, bent = (part.expand_as(begun) for part in fills or self.fills(begun, hole))
        given = self.network(torch.cat([begun - 0.5, _SEEN * bent, _SEEN * (begun - smooth), mask], dim=1))
        made = (begun + torch.sigmoid(given[:, 3:]) * bent + given[:, :3] / _SEEN).clamp(0, 1)
        return begun * (1 - mask) + made * mask


def _mask(pictures: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    mask = hole.to(pictures).reshape(-1, 1, *hole.shape[-2:])
    if mask.shape[-2:] != pictures.shape[-2:]:
        raise BadPicture(f"hole {tuple(hole.shape)}; accepted: that of the picture, {tuple(pictures.shape[-2:])}")
    return mask.expand(len(pictures), -1, -1, -1)

"""Style transfer by the student, as a generator to search: one style, whose code is made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch

from fairlead_kernels.feature_maps import halves_by

from ...networks.refiner import Refiner, Target, statistics
from ...networks.student import Student, colours_of, own_details, recoloured
from ...stylizer import MARGIN, framing
from ...transform.details import Details
from ...transform.torch_form import LocalStyle
from .lending import SlopingDetails, sloping_maps


class StyleTransfer:
    """Contents to that style; a search asks for many, and the style's own way through the network is most of a code.

    Args:
        student: the network, without gradients of its own.
        style: [1, 3, h, w] in [0, 1], on sides that are multiples of 8 (`stylizer.style_pixels`).
        strength: from 0 (the content) to 1.
        refiner: whose features tell how pictures look; None: the student's encoder.
    """

    def __init__(
        self, student: Student, style: torch.Tensor, strength: float = 1.0, refiner: Refiner | None = None
    ) -> None:
        self._student, self._refiner = student, refiner
        self._strength = torch.full((1,), strength)
        self._colours = colours_of(style[0])
        self._details = SlopingDetails(Details.of(style[0].permute(1, 2, 0).numpy()))
        with torch.no_grad():
            self._code, self._local, _, _ = student.code(style, own_details(style))
            self._target = Target([statistics(layer) for layer in self.features(style)])

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w] in [0, 1], of any size, to pictures."""
        count = len(pictures)
        share = self._strength.expand(count)
        maps = sloping_maps(self._colours, pictures, share)
        lent = self._details.lent(pictures, maps)
        code, local = self._code.expand(count, -1), _of_each(self._local, count)
        seen = recoloured(framed(pictures), maps)
        with _halves(pictures):
            made = self._student.decode(seen, framed(lent), code, local, share).float()
        return made[..., MARGIN : MARGIN + pictures.shape[2], MARGIN : MARGIN + pictures.shape[3]].clamp(0, 1)

    def features(self, pictures: torch.Tensor) -> Sequence[torch.Tensor]:
        """How pictures of any size look.

        A refiner's features were trained to see styles as VGG-19 does; an encoder's, to draw pictures again.
        """
        with _halves(pictures):
            found = (self._student.encoder if self._refiner is None else self._refiner.features)(framed(pictures))
        return [layer.float() for layer in found]

    def style_loss(self, found: Sequence[torch.Tensor]) -> torch.Tensor:
        """How far pictures are from the style, by maps of their `features`: [n].

        A refiner tells which of its features' statistics count as VGG-19's do; of others all count alike.
        """
        if self._refiner is not None:
            return self._refiner.loss(list(found), self._target)[0]
        pairs = zip(found, self._target.statistics, strict=True)
        return torch.stack([(statistics(own) - wanted).square().mean(1) for own, wanted in pairs]).sum(0)


def _halves(pictures: torch.Tensor) -> torch.autocast:
    """Layers in bfloat16, as a stylizer draws, where the processor multiplies it by itself."""
    fast = pictures.device.type == "cpu" and halves_by() in ("amx", "avx512bf16")
    return torch.autocast(pictures.device.type, torch.bfloat16, enabled=fast)


def framed(pictures: torch.Tensor) -> torch.Tensor:
    """Mirrored at all borders, as a stylizer does it."""
    rows, columns = (torch.from_numpy(index) for index in framing(*pictures.shape[2:]))
    return pictures.index_select(2, rows).index_select(3, columns)


def _of_each(local: LocalStyle, count: int) -> LocalStyle:
    """The same patches for several contents."""
    arrays = {
        field.name: getattr(local, field.name).expand(count, -1, -1)
        for field in fields(local)
        if field.name not in ("matching", "weights")
    }
    return LocalStyle(**arrays, matching=local.matching)

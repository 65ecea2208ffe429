"""A small U-net: what inpainting and colorization are made of here."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Channels at full, half, quarter, eighth and sixteenth size.
WIDTHS = (16, 24, 40, 64, 64)


class SmallUnet(nn.Module):
    """Pictures of any size to maps of that size; 0.2 M parameters.

    Args:
        taken, given: channels in and out.
        widths: channels at each size, each half the one before.
    """

    def __init__(self, taken: int, given: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        before = (taken, *widths[:-1])
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip(before, widths, strict=True))
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(_Block(a + b, b) for a, b in pairs)
        self.out = nn.Conv2d(widths[0], given, 1)
        self._multiple = 2 ** (len(widths) - 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Maps [n, taken, h, w] to [n, given, h, w]."""
        height, width = values.shape[2:]
        padding = (0, -width % self._multiple, 0, -height % self._multiple)
        values = functional.pad(values, padding, mode="replicate")
        skipped = []
        for place, block in enumerate(self.down):
            values = block(values if place == 0 else functional.avg_pool2d(values, 2))
            skipped.append(values)
        for block, side in zip(self.up, skipped[-2::-1], strict=True):
            values = block(torch.cat([functional.interpolate(values, scale_factor=2.0), side], dim=1))
        return self.out(values)[..., :height, :width]


class _Block(nn.Module):
    """Two convolutions; the second one's result is added to the first one's."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(taken, given, 3, padding=1, padding_mode="replicate")
        self.second = nn.Conv2d(given, given, 3, padding=1, padding_mode="replicate")

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = functional.silu(self.first(values))
        return values + functional.silu(self.second(values))

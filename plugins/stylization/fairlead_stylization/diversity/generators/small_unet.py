"""A small U-net: what inpainting and colorization are made of here."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Channels at a half, a quarter, an eighth and a sixteenth of the size.
WIDTHS = (16, 32, 48, 64)
#: Of the convolutions at the smallest size: what is seen of a picture's surroundings grows by 32 pixels a unit.
DILATIONS = (2, 4)


class SmallUnet(nn.Module):
    """Pictures of any size to maps of that size; 0.3 M parameters.

    The first convolutions see 2 x 2 pixels as channels, the last one gives 2 x 2 pixels, which costs a quarter. What
    shows in all of a picture reaches every place through the mean over it.

    Args:
        taken, given: channels in and out.
        widths: channels at each size, each half the one before.
    """

    def __init__(self, taken: int, given: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        before = (4 * taken, *widths[:-1])
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip(before, widths, strict=True))
        self.wide = nn.ModuleList(_Wide(widths[-1], dilation) for dilation in DILATIONS)
        self.context = nn.Linear(widths[-1], widths[-1])
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(_Block(a + b, b) for a, b in pairs)
        self.out = nn.Conv2d(widths[0], 4 * given, 3, padding=1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                # PyTorch's own start makes values smaller from layer to layer, until the deepest hardly count.
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        # Nothing at first: what is filled in by other means stays until something better is learned.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self._multiple = 2 ** len(widths)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Maps [n, taken, h, w] to [n, given, h, w]."""
        height, width = values.shape[2:]
        padding = (0, -width % self._multiple, 0, -height % self._multiple)
        values = functional.pixel_unshuffle(functional.pad(values, padding, mode="replicate"), 2)
        skipped = []
        for place, block in enumerate(self.down):
            values = block(values if place == 0 else functional.avg_pool2d(values, 2))
            skipped.append(values)
        values = self._surrounded(values)
        for block, side in zip(self.up, skipped[-2::-1], strict=True):
            values = block(torch.cat([functional.interpolate(values, scale_factor=2.0), side], dim=1))
        return functional.pixel_shuffle(self.out(values), 2)[..., :height, :width]

    def _surrounded(self, values: torch.Tensor) -> torch.Tensor:
        for block in self.wide:
            values = block(values)
        return values + functional.silu(self.context(values.mean((2, 3))))[..., None, None]


class _Block(nn.Module):
    """Two convolutions; the second one's result is added to the first one's."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(taken, given, 3, padding=1)
        self.second = nn.Conv2d(given, given, 3, padding=1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = functional.silu(self.first(values))
        return values + functional.silu(self.second(values))


class _Wide(nn.Module):
    """A convolution over places further apart; its result is added."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.seen = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + functional.silu(self.seen(values))

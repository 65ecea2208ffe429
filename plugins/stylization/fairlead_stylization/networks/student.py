"""The student: a small encoder and a decoder whose layers take a style's statistics (torch).

Layout, for a picture of H x W: features at 1/2, 1/4 and 1/8. The content's colours are mapped to the
style's first. The deepest features are stylized by
TSSAT (global, then local statistics; ACM MM 2023, section 3); every convolution of the decoder is normalized over the
picture and takes a scale and a shift that a small perceptron draws from the statistics of the style at all three
levels, as MicroAST (AAAI 2023) and conditional instance normalization do. Sums carry details of the content from the
encoder to the decoder.

A style is a vector of statistics: strength and mixtures of styles are weighted means of such vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..transform.colours import Colours, colour_map
from ..transform.torch_form import LocalStyle, affine, global_local_transform

EPSILON = 1e-5


@dataclass(frozen=True)
class StudentShape:
    """Sizes of a student.

    Attributes:
        channels: of the features at 1/2, 1/4 and 1/8.
        hidden: units of the perceptron that turns statistics into scales and shifts.
        depth: residual blocks at 1/8 after the transform.
        matching: channels in which local patches are compared; the first ones of the deepest features, all where 0.
    """

    channels: tuple[int, int, int] = (24, 48, 96)
    hidden: int = 256
    depth: int = 1
    matching: int = 24

    @property
    def segments(self) -> list[int]:
        """Channels of each set of statistics by which features are normalized, in their order."""
        fine, middle, coarse = self.channels
        return [fine, middle, coarse, *([coarse] * (2 * self.depth)), middle, fine]


EDGE = StudentShape()
QUALITY = StudentShape(channels=(32, 64, 128), hidden=384, depth=2, matching=32)

SHAPES = {"edge": EDGE, "quality": QUALITY}


def statistics(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the picture: [B, C, H, W] -> [B, 2 C]."""
    # Pooled and not flattened: runtimes keep features in their own layout.
    mean = functional.adaptive_avg_pool2d(features, 1)
    variance = functional.adaptive_avg_pool2d((features - mean).square(), 1)
    return torch.cat([mean, (variance + EPSILON).sqrt()], 1).flatten(1)


class Ledger:
    """The statistics by which features are normalized, in the order in which that happens.

    A picture that is done in tiles is normalized by the statistics of the whole, so that tiles agree: they are `given`.

    Args:
        given: [B, M], of another pass; None: the features' own.
        share: 0 (the features' own) or 1 (those given), as a number that an exported graph takes.
    """

    def __init__(self, given: Tensor | None = None, share: Tensor | None = None) -> None:
        self.given, self.share, self.place = given, share, 0
        self.used: list[Tensor] = []

    def statistics(self, features: Tensor) -> Tensor:
        """[B, 2 C] of features [B, C, H, W]."""
        found = statistics(features)
        if self.given is not None and self.share is not None:
            found = torch.lerp(found, self.given[:, self.place : self.place + 2 * features.shape[1]], self.share)
        self.place += 2 * features.shape[1]
        self.used.append(found)
        return found

    def modulate(self, features: Tensor, scale_shift: Tensor) -> Tensor:
        """Normalized features, scaled and shifted: AdaIN with learned statistics."""
        features = features.float()
        scale, shift = scale_shift.float()[:, :, None, None].chunk(2, 1)
        mean, deviation = self.statistics(features)[:, :, None, None].chunk(2, 1)
        # One scale and one shift a channel: two passes over the features, not four.
        factor = (1 + scale) / deviation
        return affine(features, factor, shift - mean * factor)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Encoder(nn.Module):
    """Features of a picture at 1/2, 1/4 and 1/8."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        # Space-to-depth by 2 and a 3 x 3 convolution in one.
        self.first = nn.Conv2d(3, fine, 6, stride=2, padding=2)
        self.second = _convolution(fine, middle, stride=2)
        self.third = _convolution(middle, coarse, stride=2)
        self.last = _convolution(coarse, coarse)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1], H and W multiples of 8 -> three maps."""
        fine = functional.relu(self.first(2 * picture - 1))
        middle = functional.relu(self.second(fine))
        coarse = functional.relu(self.third(middle))
        # Convolutions may run in bfloat16 (in training); statistics never do.
        return fine.float(), middle.float(), (coarse + self.last(coarse)).float()


class Modulator(nn.Module):
    """Statistics of a style at all levels -> scale and shift of each layer of the decoder."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        self.sizes = [2 * coarse] * (2 * shape.depth) + [2 * middle, 2 * fine, 3]
        size = 2 * sum(shape.channels)
        # Codes of different styles differ little beside their size: they are measured from their usual values.
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.inner = nn.Linear(size, shape.hidden)
        self.outer = nn.Linear(shape.hidden, sum(self.sizes))
        with torch.no_grad():
            self.outer.weight[-3:] = self.outer.bias[-3:] = 0

    def forward(self, code: Tensor) -> tuple[Tensor, ...]:
        """[B, 2 (C1 + C2 + C3)] -> one [B, 2 C] a layer (scales, then shifts), and [B, 3] for the picture itself."""
        if self.training:
            self._watch(code.detach())
        standard = ((code - self.centre) / self.spread).clamp(-4, 4)
        return self.outer(functional.relu(self.inner(standard))).split(self.sizes, 1)

    @torch.no_grad()
    def _watch(self, codes: Tensor) -> None:
        """Follow the usual values; the deviation comes from the distance to them."""
        self.centre.lerp_(codes.mean(0), 0.05)
        self.spread.lerp_(1.25 * (codes - self.centre).abs().mean(0) + EPSILON, 0.05)


def recoloured(picture: Tensor, mapping: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] under maps of colours [B, 3, 4]: what the encoder sees of a content."""
    flat = torch.bmm(mapping[:, :, :3], picture.flatten(2)) + mapping[:, :, 3:]
    return flat.reshape(picture.shape)


def colour_maps(contents: Tensor, styles: Tensor, strength: Tensor) -> Tensor:
    """Maps [B, 3, 4] from the colours of contents to those of styles (both [B, 3, H, W]), by strengths [B]."""
    pairs = zip(contents, styles, strength.tolist(), strict=True)
    maps = [colour_map(_colours(content), _colours(style), share) for content, style, share in pairs]
    return torch.from_numpy(np.stack(maps)).to(contents.dtype)


def _colours(picture: Tensor) -> Colours:
    return Colours.of(picture.detach().permute(1, 2, 0).float().numpy())


def exchanged(features: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Features with other means and deviations ([B, 2 C]) for those that they have: AdaIN."""
    mean, deviation = before[:, :, None, None].chunk(2, 1)
    wanted_mean, wanted_deviation = after[:, :, None, None].chunk(2, 1)
    factor = wanted_deviation / deviation
    return affine(features, factor, wanted_mean - mean * factor)


class Decoder(nn.Module):
    """Stylized features at 1/8 and the content's finer ones -> a picture."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        self.blocks = nn.ModuleList(_convolution(coarse, coarse) for _ in range(2 * shape.depth))
        self.to_middle = _convolution(coarse, middle)
        self.middle = _convolution(middle, middle)
        self.to_fine = _convolution(middle, fine)
        self.fine = _convolution(fine, fine)
        self.picture = _convolution(fine, 12)
        # An untrained student gives the recoloured content: training starts there, and not at noise.
        nn.init.zeros_(self.picture.weight)
        nn.init.zeros_(self.picture.bias)

    def forward(
        self, seen: Tensor, levels: tuple[Tensor, Tensor, Tensor], scales: tuple[Tensor, ...], ledger: Ledger
    ) -> Tensor:
        """What the encoder saw, its maps at 1/2, 1/4 and 1/8, scales -> [B, 3, H, W], near [0, 1] and not clipped."""
        fine, middle, coarse = levels
        for index in range(0, len(self.blocks), 2):
            inner = functional.relu(ledger.modulate(self.blocks[index](coarse), scales[index]))
            coarse = coarse + ledger.modulate(self.blocks[index + 1](inner), scales[index + 1])
        features = functional.interpolate(self.to_middle(coarse), scale_factor=2.0) + middle
        features = functional.relu(ledger.modulate(self.middle(features), scales[-3]))
        features = functional.interpolate(self.to_fine(features), scale_factor=2.0) + fine
        features = functional.relu(ledger.modulate(self.fine(features), scales[-2]))
        change = functional.pixel_shuffle(self.picture(features), 2)
        return seen + (seen - 0.5) * scales[-1][:, :, None, None] + change


class Student(nn.Module):
    """Encoder, modulator and decoder."""

    def __init__(self, shape: StudentShape = EDGE) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.modulator, self.decoder = Encoder(shape), Modulator(shape), Decoder(shape)

    def code(self, levels: tuple[Tensor, ...]) -> Tensor:
        """A picture's features at three levels -> its statistics, [B, 2 (C1 + C2 + C3)]."""
        return torch.cat([statistics(level) for level in levels], 1)

    def decode(
        self,
        seen: Tensor,
        levels: tuple[Tensor, Tensor, Tensor],
        code: Tensor,
        local: LocalStyle | None,
        strength: Tensor,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """Stylize.

        Args:
            seen: the recoloured content, [B, 3, H, W].
            levels: its features.
            code: the style's statistics, [B, N].
            local: the style's patches; global statistics only where None.
            strength: [B], 0 (the content) to 1 (the style).
            ledger: notes the statistics that were used, or gives them.
        """
        ledger = ledger or Ledger()
        fine, middle, coarse = levels
        share, channels = strength[:, None], 2 * self.shape.channels[2]
        own = torch.cat([ledger.statistics(level) for level in levels], 1)
        stylized = global_local_transform(coarse, own[:, -channels:], code[:, -channels:], local)
        mixed = torch.lerp(coarse, stylized, share[:, :, None, None])
        code = torch.lerp(own, code, share)
        pairs = zip((fine, middle), self._pairs(own), self._pairs(code), strict=True)
        finer = [exchanged(features, before, after) for features, before, after in pairs]
        return self.decoder(seen, (finer[0], finer[1], mixed), self.modulator(code), ledger)

    def _pairs(self, code: Tensor) -> tuple[Tensor, ...]:
        """The statistics of the two finer levels in a code."""
        fine, middle, coarse = (2 * channels for channels in self.shape.channels)
        return code.split([fine, middle, coarse], 1)[:2]

    def forward(self, content: Tensor, style: Tensor, strength: Tensor | None = None) -> Tensor:
        """Pictures [B, 3, H, W] and styles [B, 3, h, w] in [0, 1] -> pictures."""
        share = content.new_ones(len(content)) if strength is None else strength
        seen = recoloured(content, colour_maps(content, style, share))
        levels = self.encoder(seen)
        others = self.encoder(style)
        local = LocalStyle.of(others[2], self.shape.matching)
        return self.decode(seen, levels, self.code(others), local, share)

"""The student: a small encoder and a decoder that gives features a style's statistics at every place (torch).

Layout, for a picture of H x W: features at 1/2, 1/4 and 1/8. The content's colours are mapped to the style's first, and
it is lent the style's details (see `transform.details`), which the encoder also sees apart, as grey.
The deepest features are stylized by TSSAT (global, then local statistics; ACM MM 2023, section 3). On the way up, sums
bring details of the content from the encoder to the decoder, and at each place of the decoder the features are given
the means and the covariances that the style's own features have at that place (see `transform.covariances`): the
style goes through the same layers, unchanged, once. So little has to be learned about styles: layers learn which
features to see and to draw, and a small perceptron by how much a style asks for more or less of them. The picture that
comes out is given the style's colours once more.

A style is a vector of statistics: strength and mixtures of styles are weighted means of such vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..transform.colours import Colours, colour_map
from ..transform.covariances import matched, moments
from ..transform.details import Details, finer
from ..transform.tiles import length
from ..transform.torch_form import LocalStyle, affine, global_local_transform
from .shape import EDGE, StudentShape

EPSILON = 1e-5
#: Of `moments` at 1/2 and of pictures: odd, since what was made from halves repeats every second pixel.
STEP = 3
#: Of the details that a content is lent, at full strength.
LENT = 0.5


def statistics(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the picture: [B, C, H, W] -> [B, 2 C]."""
    # Pooled and not flattened: runtimes keep features in their own layout.
    mean = functional.adaptive_avg_pool2d(features, 1)
    variance = functional.adaptive_avg_pool2d((features - mean).square(), 1)
    return torch.cat([mean, (variance + EPSILON).sqrt()], 1).flatten(1)


class Ledger:
    """The statistics that features had before they were given others, in the order in which that happens.

    A picture that is done in tiles goes by the statistics of the whole, so that tiles agree: they are `given`.

    Args:
        given: [B, M], of another pass; None: the features' own.
        share: 0 (the features' own) or 1 (those given), as a number that an exported graph takes.
    """

    def __init__(self, given: Tensor | None = None, share: Tensor | None = None) -> None:
        self.given, self.share, self.place = given, share, 0
        self.used: list[Tensor] = []

    def note(self, found: Tensor) -> Tensor:
        """[B, N], found here -> those to go by."""
        if self.given is not None and self.share is not None:
            found = torch.lerp(found, self.given[:, self.place : self.place + found.shape[1]], self.share)
        self.place += found.shape[1]
        self.used.append(found)
        return found


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Encoder(nn.Module):
    """Features of a picture at 1/2, 1/4 and 1/8; before their rectifiers, so that statistics tell all."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        # Space-to-depth by 2 and a 3 x 3 convolution in one.
        self.first = nn.Conv2d(4, fine, 6, stride=2, padding=2)
        self.second = _convolution(fine, middle, stride=2)
        self.third = _convolution(middle, coarse, stride=2)
        self.blocks = nn.ModuleList(_convolution(coarse, coarse) for _ in range(2 * shape.depth + 1))

    def forward(self, picture: Tensor, details: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1] and details, [B, 3, H, W] (none: 0), H and W multiples of 8 -> three maps."""
        grey = torch.zeros_like(picture[:, :1]) if details is None else details.mean(1, keepdim=True)
        fine = self.first(torch.cat([2 * picture - 1, grey], 1))
        middle = self.second(functional.relu(fine))
        coarse = self.third(functional.relu(middle))
        for block in self.blocks:
            coarse = coarse + block(functional.relu(coarse))
        return fine, middle, coarse


def recoloured(picture: Tensor, mapping: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] under maps of colours [B, 3, 4]: what the encoder sees of a content."""
    flat = torch.bmm(mapping[:, :, :3], picture.flatten(2)) + mapping[:, :, 3:]
    return flat.reshape(picture.shape)


def colour_maps(contents: Tensor, styles: Tensor, strength: Tensor) -> Tensor:
    """Maps [B, 3, 4] from the colours of contents to those of styles (both [B, 3, H, W]), by strengths [B]."""
    pairs = zip(contents, styles, strength, strict=True)
    return torch.cat([maps_to(colours_of(style), content[None], share[None]) for content, style, share in pairs])


def maps_to(colours: Colours, contents: Tensor, strength: Tensor) -> Tensor:
    """Maps [B, 3, 4] from the colours of contents [B, 3, H, W] to a style's, by strengths [B]."""
    pairs = zip(contents, strength.tolist(), strict=True)
    maps = [colour_map(colours_of(content), colours, share) for content, share in pairs]
    return torch.from_numpy(np.stack(maps)).to(contents.dtype)


def lent_details(contents: Tensor, styles: Tensor, maps: Tensor) -> Tensor:
    """What contents [B, 3, H, W] are lent by styles [B, 3, h, w], under maps of colours [B, 3, 4]."""
    return lent_by([Details.of(_rows(style)) for style in styles], contents, maps)


def lent_by(details: Sequence[Details], contents: Tensor, maps: Tensor) -> Tensor:
    """What contents [B, 3, H, W] are lent, each by its style's details, under maps of colours [B, 3, 4]."""
    triples = zip(details, contents, maps.numpy(), strict=True)
    lent = [style.carried(_rows(content), mapping) for style, content, mapping in triples]
    return torch.from_numpy(np.stack(lent)).permute(0, 3, 1, 2).to(contents.dtype)


def own_details(styles: Tensor) -> Tensor:
    """What is fine in styles [B, 3, h, w] themselves."""
    return torch.from_numpy(np.stack([finer(_rows(style)) for style in styles])).permute(0, 3, 1, 2).to(styles.dtype)


def colours_of(picture: Tensor) -> Colours:
    """The colours of a picture [3, H, W]."""
    return Colours.of(_rows(picture))


def _rows(picture: Tensor) -> NDArray[np.float32]:
    return picture.detach().permute(1, 2, 0).float().numpy()


class Itself:
    """What a style is at the places of the decoder: passes features on, and notes their moments."""

    def __init__(self) -> None:
        self.noted: list[Tensor] = []

    def __call__(self, features: Tensor, step: int = 1) -> Tensor:
        """Features as they are."""
        self.noted.append(moments(features, step))
        return features


class Modulator(nn.Module):
    """A style's code -> a scale and a shift of each channel at each place, nought before training.

    Of the code it takes means and deviations, measured from their usual values: beside their size, codes differ little.
    """

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        self.sizes = [2 * size for size in shape.places]
        coarse, starts = 2 * shape.channels[2], np.cumsum([0, *(size + size * size for size in shape.places)])
        means = [np.arange(start, start + size) for start, size in zip(starts, shape.places, strict=False)]
        own = [at[-1] + 1 + np.arange(size) * (size + 1) for at, size in zip(means, shape.places, strict=True)]
        self.register_buffer("means", torch.from_numpy(coarse + np.concatenate(means)), persistent=False)
        self.register_buffer("variances", torch.from_numpy(coarse + np.concatenate(own)), persistent=False)
        count = coarse + sum(self.sizes)
        self.register_buffer("centre", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))
        self.inner, self.outer = nn.Linear(count, shape.hidden), nn.Linear(shape.hidden, sum(self.sizes))
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, code: Tensor) -> tuple[Tensor, ...]:
        """[B, N] -> [B, 2 C] for each place, scales and then shifts."""
        coarse = code.shape[1] - sum(size // 2 + (size // 2) ** 2 for size in self.sizes)
        deviations = (code[:, self.variances].clamp_min(0) + EPSILON).sqrt()
        seen = torch.cat([code[:, :coarse], code[:, self.means], deviations], 1)
        if self.training:
            self._watch(seen.detach())
        standard = ((seen - self.centre) / self.spread).clamp(-4, 4)
        return self.outer(functional.relu(self.inner(standard))).float().split(self.sizes, 1)

    @torch.no_grad()
    def _watch(self, seen: Tensor) -> None:
        """Follow the usual values; the deviation comes from the distance to them."""
        self.centre.lerp_(seen.mean(0), 0.02)
        self.spread.lerp_(1.25 * (seen - self.centre).abs().mean(0) + EPSILON, 0.02)


class Matching:
    """Gives features at the places of the decoder a style's moments, and more or less of each as a style asks.

    Args:
        wanted: a style's moments at each place.
        asked: scales and shifts at each place.
        share: [B], how far.
        ledger: notes what features had.
    """

    def __init__(self, wanted: tuple[Tensor, ...], asked: tuple[Tensor, ...], share: Tensor, ledger: Ledger) -> None:
        self._wanted, self._asked = iter(wanted), iter(asked)
        self._share, self._ledger = share, ledger

    def __call__(self, features: Tensor, step: int = 1) -> Tensor:
        """Features with the style's moments."""
        features = matched(features, self._ledger.note(moments(features, step)), next(self._wanted), self._share)
        scale, shift = (self._share[:, None, None, None] * next(self._asked)[:, :, None, None]).chunk(2, 1)
        return affine(features, 1 + scale, shift)


class Decoder(nn.Module):
    """Stylized features at 1/8 and the content's finer ones -> a picture."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        self.to_middle = _convolution(coarse, middle)
        self.middle = _convolution(middle, middle)
        self.to_fine = _convolution(middle, fine)
        self.fine = _convolution(fine, fine)
        self.picture = _convolution(fine, 12)
        # An untrained student gives the recoloured content: training starts there, and not at noise.
        nn.init.zeros_(self.picture.weight)

    def forward(self, seen: Tensor, levels: tuple[Tensor, Tensor, Tensor], place: Itself | Matching) -> Tensor:
        """What the encoder saw, its maps at 1/2, 1/4 and 1/8, what happens at places -> [B, 3, H, W], not clipped."""
        fine, middle, coarse = levels
        features = functional.interpolate(self.to_middle(functional.relu(coarse)), scale_factor=2.0) + middle
        features = place(self.middle(functional.relu(place(features))))
        features = functional.interpolate(self.to_fine(functional.relu(features)), scale_factor=2.0) + fine
        features = place(self.fine(functional.relu(place(features, STEP))), STEP)
        return seen + functional.pixel_shuffle(self.picture(functional.relu(features)), 2)


@dataclass(frozen=True)
class Passes:
    """A batch's results, and the styles themselves after the same layers.

    Attributes:
        picture, itself: [B, 3, H, W], not clipped.
        levels: the styles' features.
    """

    picture: Tensor
    itself: Tensor
    levels: tuple[Tensor, Tensor, Tensor]


class Student(nn.Module):
    """Encoder, modulator and decoder."""

    def __init__(self, shape: StudentShape = EDGE) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.modulator, self.decoder = Encoder(shape), Modulator(shape), Decoder(shape)

    def code(self, style: Tensor, details: Tensor) -> tuple[Tensor, LocalStyle, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """A style [B, 3, h, w] and what is fine in it -> code [B, N], patches, itself as drawn, features."""
        levels, itself = self.encoder(style, details), Itself()
        coarse = levels[2].float()
        drawn = self.decoder(style, levels, itself)
        return torch.cat([statistics(coarse), *itself.noted], 1), self._local(coarse), drawn, levels

    def _local(self, coarse: Tensor) -> LocalStyle:
        return LocalStyle.of(coarse, self.shape.matching)

    def decode(
        self,
        seen: Tensor,
        details: Tensor,
        code: Tensor,
        local: LocalStyle | None,
        strength: Tensor,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """Stylize.

        Args:
            seen: the recoloured content, [B, 3, H, W].
            details: what the style lends it, [B, 3, H, W].
            code: the style's statistics, [B, N].
            local: the style's patches; global statistics only where None.
            strength: [B], 0 (the content) to 1 (the style).
            ledger: notes the statistics that were used, or gives them.
        """
        ledger = ledger or Ledger()
        details = strength[:, None, None, None] * details
        richer = seen + LENT * details
        fine, middle, coarse = self.encoder(richer, details)
        coarse = coarse.float()
        first, *wanted = code.split([length(segment) for segment in self.shape.segments[:-2]], 1)
        stylized = global_local_transform(coarse, ledger.note(statistics(coarse)), first, local)
        mixed = torch.lerp(coarse, stylized, strength[:, None, None, None])
        place = Matching(tuple(wanted), self.modulator(code), strength, ledger)
        drawn = self.decoder(richer, (fine, middle, mixed), place)
        colours = ledger.note(moments(seen, STEP))
        return matched(drawn, ledger.note(moments(drawn, STEP)), colours, torch.ones_like(strength))

    def passes(self, content: Tensor, style: Tensor, strength: Tensor | None = None) -> Passes:
        """Contents [B, 3, H, W] and styles [B, 3, h, w] in [0, 1] -> results, and more that training looks at."""
        share = content.new_ones(len(content)) if strength is None else strength
        code, local, itself, levels = self.code(style, own_details(style))
        maps = colour_maps(content, style, share)
        seen, details = recoloured(content, maps), lent_details(content, style, maps)
        return Passes(self.decode(seen, details, code, local, share), itself, levels)

    def forward(self, content: Tensor, style: Tensor, strength: Tensor | None = None) -> Tensor:
        """Contents [B, 3, H, W] and styles [B, 3, h, w] in [0, 1] -> pictures."""
        return self.passes(content, style, strength).picture

"""The refiner by the project's own kernels: what `refiner.Refiner` is in torch, with its slope written out.

Per step, from l = sum over layers of w ((m - m*)^2 + (s - s*)^2), with means m and deviations s of P places each: the
slope at a feature f is 2 w / P (m - m* + (s - s*) (f - m) / s), plus what the layer above sends back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import feature_maps, pixels
from fairlead_kernels.feature_maps import FeatureMap, Filters, Result

from ..errors import BadCheckpoint
from ..stylizer import Look, Network, Style, mixed, padded, shares
from ..transform.ledger import Ledger
from ..transform.strengths import of_steps
from ..transform.tiles import Segment, length
from .arrays import read_arrays
from .kept import Kept
from .numbers import MIDDLE, Numbers, convolved_map, fastest, kept_map
from .shape import REFINERS, RefinerShape

Array = NDArray[np.float32]

EPSILON = 1e-5
TINY = 1e-12
#: Layers at 1/2; those after them are at 1/4.
FINE = 2
SAME = np.eye(3, 4, dtype=np.float32)


#: Features of a content at the last layer, and how much the sum over channels of the mean square distance counts.
Content = tuple[FeatureMap, float]


class NativeRefiner:
    """A refiner's weights, run by `fairlead_kernels.feature_maps`.

    Args:
        weights: a safetensors file.
        variant: which shape.
        numbers: what features and slopes are kept in; None: what is fastest here.

    Raises:
        BadCheckpoint: not such a file.
    """

    def __init__(self, weights: Path, variant: str, numbers: Numbers | None = None) -> None:
        self.shape = REFINERS[variant]
        held = read_arrays(weights)
        for name, wanted in shapes_of(self.shape).items():
            if name not in held or held[name].shape != wanted:
                found = held[name].shape if name in held else "nothing"
                raise BadCheckpoint(weights, f"{name}: {found}; accepted for {variant}: {wanted}")
        self._numbers: Numbers = numbers or fastest()
        self._gain = float(np.exp(held["gains"][0]))
        self._hold = float(np.exp(held["hold"][0])) if self.shape.content else 0.0
        self._weights = [np.exp(held[f"weights.{layer}"]) for layer in range(len(self.shape.channels))]
        kernels = [held[f"layers.{layer}.weight"].transpose(0, 2, 3, 1) for layer in range(len(self._weights))]
        kernels[0] = _by_places(kernels[0])
        biases = [held[f"layers.{layer}.bias"] for layer in range(len(kernels))]
        self._down = [feature_maps.packed(*pair, self._numbers) for pair in zip(kernels, biases, strict=True)]
        self._back = [self._returning(layer, kernel) for layer, kernel in enumerate(kernels)]
        self._maps = Kept(lambda height, width: _Maps(self.shape, height, width, self._numbers))

    def _returning(self, layer: int, kernel: Array) -> Filters:
        """The filters that carry a layer's slope to what it saw."""
        turned = kernel[:, ::-1, ::-1].transpose(3, 1, 2, 0)
        if layer == 0:
            # Colours without the details' places; they are seen as twice their number less 1.
            turned = 2 * turned.reshape(2, 2, 4, *turned.shape[1:])[:, :, :3].reshape(12, *turned.shape[1:])
        if layer == FINE:
            turned = turned / 4
        turned = np.ascontiguousarray(turned, np.float32)
        return feature_maps.packed(turned, np.zeros(len(turned), np.float32), self._numbers)

    @property
    def segments(self) -> list[Segment]:
        """What a ledger notes, in order."""
        once: list[Segment] = [*(("deviations", size) for size in self.shape.channels), ("means", 1)]
        return once * self.shape.steps

    def target(self, style: Array) -> Array:
        """Statistics at all layers, [M], of a style [h, w, 3] in [0, 1], sides multiples of 4."""
        with self._maps.lent(*style.shape[:2]) as maps:
            return np.concatenate(self._seen(style, maps))

    def loss(self, picture: Array, target: Array) -> float:
        """The style loss of a picture [H, W, 3] in [0, 1], sides multiples of 4, by a style's statistics [M]."""
        with self._maps.lent(*picture.shape[:2]) as maps:
            return self._loss(self._seen(picture, maps), self._by_layers(target))

    def slope(self, picture: Array, target: Array, content: Array, hold: float) -> tuple[float, float, Array]:
        """A picture's losses, and their slope.

        Args:
            picture, content: [H, W, 3] in [0, 1], sides multiples of 4.
            target: statistics of a style.
            hold: how much the content's loss counts.

        Returns:
            The style loss as `loss` has it, the content loss (mean square difference of the last layer's features),
            and by how much each of the picture's values changes the first plus `hold` times the second: [H, W, 3].
        """
        with self._maps.lent(*picture.shape[:2]) as maps:
            self._seen(content, maps)
            kept = maps.swap_last()
            own, wanted = self._seen(picture, maps), self._by_layers(target)
            apart = maps.features[-1].read() - kept.read()
            lost = float(np.vdot(apart, apart)) / apart.size
            slope = self._slope(own, wanted, (kept, hold / self.shape.channels[-1]) if hold else None, maps)
        # Slopes are of the loss times places at 1/2.
        return self._loss(own, wanted), lost, slope * np.float32(4 / (picture.shape[0] * picture.shape[1]))

    def _by_layers(self, target: Array) -> list[Array]:
        return np.split(target, np.cumsum([2 * size for size in self.shape.channels])[:-1])

    def _loss(self, own: list[Array], wanted: list[Array]) -> float:
        return sum(
            float((weight * (one - other) ** 2).sum())
            for weight, one, other in zip(self._weights, own, wanted, strict=True)
        )

    def refine(
        self,
        picture: Array,
        target: Array,
        strength: float = 1.0,
        content: Array | None = None,
        given: Array | None = None,
    ) -> tuple[Array, Array]:
        """A picture [H, W, 3] in [0, 1], sides multiples of 4, after all steps, and the statistics that were used, [N].

        Args:
            target: of the style.
            strength: of each step its square is taken (`strengths.of_steps`).
            content: picture [H, W, 3] that is held on to, where the shape says so.
            given: [1, N], statistics to go by.
        """
        ledger = Ledger(given)
        wanted = self._by_layers(target)
        with self._maps.lent(*picture.shape[:2]) as maps:
            kept = None
            if content is not None and self.shape.content:
                self._seen(content, maps)
                kept = maps.swap_last(), self._hold
            for _ in range(self.shape.steps):
                picture = self._stepped(picture, wanted, of_steps(strength), kept, maps, ledger)
        return picture, np.concatenate(ledger.used)

    def _seen(self, picture: Array, maps: _Maps) -> list[Array]:
        """Means, then deviations, of each layer."""
        source = feature_maps.unshuffle(picture, None, SAME, 0.0, 0.0, maps.picture)
        found = []
        for layer, (filters, features) in enumerate(zip(self._down, maps.blank, strict=True)):
            if layer == FINE:
                source = feature_maps.pool(source, maps.pooled)
            source, mean, variance = feature_maps.convolve_spread(source, filters, features)
            maps.features[layer] = source
            found.append(np.concatenate([mean, np.sqrt(variance + EPSILON)]))
        return found

    def _stepped(
        self, picture: Array, wanted: list[Array], share: float, kept: Content | None, maps: _Maps, ledger: Ledger
    ) -> Array:
        own = [ledger.note(found) for found in self._seen(picture, maps)]
        loss = self._loss(own, wanted)
        slope = self._slope(own, wanted, kept, maps)
        # Of a place at 1/2, whose slopes are those of the loss times the number of such places.
        square = ledger.note(np.array([12 * pixels.mean_square(slope)], np.float32))
        pixels.step(picture, -share * self._gain * loss / (float(square[0]) + TINY), slope)
        return slope

    def _slope(self, own: list[Array], wanted: list[Array], kept: Content | None, maps: _Maps) -> Array:
        above = None
        for layer in reversed(range(len(own))):
            scale, shift = self._pull(layer, own[layer], wanted[layer])
            features, target = maps.features[layer], maps.slopes[layer]
            last = layer == len(own) - 1
            other, hold = kept if last and kept is not None else (None, 0.0)
            # The mean over places at 1/4, times places at 1/2.
            slopes = feature_maps.slope(features, above, scale, shift, target, other if hold else None, 2 * hold * 4)
            if layer == 0:
                break
            above = maps.above[layer - 1]
            feature_maps.convolve(slopes, self._back[layer], Result(kept=above))
        slope = np.empty((*maps.size, 3), np.float32)
        feature_maps.draw(slopes, self._back[0], None, slope)
        return slope

    def _pull(self, layer: int, own: Array, wanted: Array) -> tuple[Array, Array]:
        """What a feature of each channel is scaled by, and shifted."""
        channels, difference = len(own) // 2, own - wanted
        mean, deviation = own[:channels], own[channels:]
        # Slopes at places at 1/4 are of a quarter as many places.
        by = 2 * (4 if layer >= FINE else 1) * self._weights[layer] * difference
        by_mean, scale = by[:channels], by[channels:] / deviation
        return scale.astype(np.float32), (by_mean - scale * mean).astype(np.float32)


class StyleSlope:
    """How far pictures of any size are from a mixture of styles, and which way they come nearer.

    Args:
        refiner: whose features tell.
        styles: pictures [h, w, 3] in [0, 1] on sides that are multiples of 4, with their weights.
        strength: from 0 (a picture stays) to 1.

    Raises:
        BadSetting: weights that no mixture has.
    """

    def __init__(self, refiner: NativeRefiner, styles: Sequence[tuple[Array, float]], strength: float = 1.0) -> None:
        self._refiner, self.strength = refiner, strength
        weights = shares([Style(picture, weight) for picture, weight in styles])
        self._target = mixed([refiner.target(picture) for picture, _ in styles], weights)

    def loss(self, picture: Array) -> float:
        """The style loss of a picture [H, W, 3] in [0, 1]."""
        return self._refiner.loss(_whole_cells(picture), self._target)

    def slope(self, picture: Array, content: Array, hold: float) -> tuple[float, float, Array]:
        """Style loss and content loss of a picture [H, W, 3] in [0, 1], and the slope of the first and `hold` times the
        second; as `NativeRefiner.slope`.
        """
        pair = _whole_cells(picture), _whole_cells(content)
        loss, lost, slope = self._refiner.slope(pair[0], self._target, pair[1], hold)
        return loss, lost, slope[: picture.shape[0], : picture.shape[1]]

    def refined(self, picture: Array) -> Array:
        """A picture [H, W, 3] in [0, 1], nearer to the styles."""
        found, _ = self._refiner.refine(_whole_cells(picture), self._target, self.strength)
        return found[: picture.shape[0], : picture.shape[1]]


def _whole_cells(picture: Array) -> Array:
    return np.ascontiguousarray(padded(picture), np.float32)


class _Maps:
    """What a picture of a size is refined in."""

    def __init__(self, shape: RefinerShape, height: int, width: int, numbers: Numbers) -> None:
        self.size = (height, width)
        sides = [(height // by, width // by) for by in (2, 2, 4, 4)]
        sizes = [(*side, channels) for side, channels in zip(sides, shape.channels, strict=True)]
        self.picture = convolved_map(*sides[0], 16, numbers, MIDDLE)
        self.pooled = convolved_map(*sides[FINE], shape.channels[FINE - 1], numbers)
        # No filters are laid on the last features.
        self.blank = [*(convolved_map(*size, numbers) for size in sizes[:-1]), kept_map(*sizes[-1], numbers)]
        self.features = list(self.blank)
        self.slopes = [convolved_map(*size, numbers, MIDDLE) for size in sizes]
        # Of the size of what comes from above: where that is at 1/4, each place is 2 x 2 at 1/2.
        self.above = [
            kept_map(*side, channels, numbers) for side, channels in zip(sides[1:], shape.channels, strict=False)
        ]
        self._spare = kept_map(*sizes[-1], numbers)

    def swap_last(self) -> FeatureMap:
        """The last layer's features, which stay as they are until this is asked again."""
        self.blank[-1], self._spare = self._spare, self.blank[-1]
        return self._spare


def _by_places(kernel: Array) -> Array:
    """Filters over 12 channels (colour, row, column) -> over 16 (row, column, colour or detail)."""
    parted = kernel.reshape(*kernel.shape[:3], 3, 2, 2).transpose(0, 1, 2, 4, 5, 3)
    whole = np.zeros((*parted.shape[:-1], 4), np.float32)
    whole[..., :3] = parted
    return whole.reshape(*kernel.shape[:3], 16)


def shapes_of(shape: RefinerShape) -> dict[str, tuple[int, ...]]:
    """Every array of a refiner's weights, by name."""
    found: dict[str, tuple[int, ...]] = {"gains": (1,)} | ({"hold": (1,)} if shape.content else {})
    for layer, (inputs, outputs) in enumerate(zip((12, *shape.channels), shape.channels, strict=False)):
        found |= {f"layers.{layer}.weight": (outputs, inputs, 3, 3), f"layers.{layer}.bias": (outputs,)}
        found[f"weights.{layer}"] = (2 * outputs,)
    return found


class RefinedNetwork:
    """A network whose pictures are refined.

    Args:
        base: what draws.
        refiner: what refines.
        variant: the name of both together.
        digest: of all weights.
    """

    def __init__(self, base: Network, refiner: NativeRefiner, variant: str, digest: str) -> None:
        self.base, self.refiner, self.variant, self.weights_digest = base, refiner, variant, digest
        self.segments = [*base.segments, *refiner.segments]
        self._noted = sum(map(length, base.segments))
        self._told = 2 * sum(refiner.shape.channels)

    def encode(self, style: Array, details: Array) -> tuple[Array, Array, Array, Array]:
        """See `stylizer.Network`; the refiner's statistics are the last."""
        statistics, *patches = self.base.encode(style, details)
        target = self.refiner.target(_rows(style))
        return np.concatenate([statistics, target[None]], 1), *patches

    def decode(self, content: Array, details: Array, look: Look, given: Array | None) -> tuple[Array, Array]:
        """See `stylizer.Network`."""
        target = look.statistics[0, -self._told :]
        first, rest = (None, None) if given is None else (given[:, : self._noted], given[:, self._noted :])
        drawn, used = self.base.decode(content, details, look.without(self._told), first)
        kept = _rows(content) if self.refiner.shape.content else None
        refined, more = self.refiner.refine(_rows(drawn), target, look.strength, kept, rest)
        return refined.transpose(2, 0, 1)[None], np.concatenate([used, more[None]], 1)


def _rows(planes: Array) -> Array:
    return np.ascontiguousarray(planes[0].transpose(1, 2, 0), np.float32)

"""A student by the project's own kernels: no runtime, and few passes over memory.

The same layers as `student.Student`; the order of the statistics is the ledger's.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import feature_maps, pixels
from fairlead_kernels.feature_maps import FeatureMap, Result
from fairlead_kernels.local_stage import Patches, patches_of, restyle, statistics

from ..errors import BadCheckpoint
from ..stylizer import Look
from ..transform.ledger import Ledger
from ..transform.roots import apart, matching
from ..transform.tiles import length
from .arrays import read_arrays
from .kept import Kept
from .numbers import MIDDLE, Numbers, convolved_map, fastest, kept_map
from .shape import SHAPES, StudentShape

Array = NDArray[np.float32]

EPSILON = 1e-5
TINY = 1e-6
#: Deviations from the mean that the deepest features are kept to.
FAR = 6
#: As in `student`, which needs torch: of the details that a content is lent; and of moments at 1/2 and of pictures.
LENT = 0.5
STEP = 3
SAME = np.eye(3, 4, dtype=np.float32)


class NativeNetwork:
    """A student's weights, run by `fairlead_kernels.feature_maps`.

    Args:
        weights: a safetensors file.
        variant: its name.
        numbers: what features are kept in; None: what is fastest here.
        digest: of the weights; None: of that file.
        step: of moments at 1/2 and of pictures: every so many rows and columns.

    Raises:
        BadCheckpoint: not a student of that variant, or of channels that are no multiples of 16.
    """

    def __init__(
        self,
        weights: Path,
        variant: str,
        numbers: Numbers | None = None,
        digest: str | None = None,
        step: int = STEP,
    ) -> None:
        self._weights, self._file, self.variant, self._step = read_arrays(weights), weights, variant, step
        self._numbers: Numbers = numbers or fastest()
        self._shape = self._checked(SHAPES[variant])
        self.segments = self._shape.segments
        self.weights_digest = digest or hashlib.sha256(weights.read_bytes()).hexdigest()
        self._blocks = 2 * self._shape.depth + 1
        self._matching = self._shape.matching or self._shape.channels[2]
        names = [
            *(f"encoder.{name}" for name in ("first", "second", "third")),
            *(f"encoder.blocks.{index}" for index in range(self._blocks)),
            *(f"decoder.{name}" for name in ("to_middle", "middle", "to_fine", "fine", "picture")),
        ]
        parts = {name: self._parts(name) for name in names}
        self._filters = {name: feature_maps.packed(*pair, self._numbers) for name, pair in parts.items()}
        self._last = parts["decoder.fine"]
        self._maps = Kept(lambda height, width: Maps(self._shape, height, width, self._numbers))

    def encode(self, style: Array, details: Array) -> tuple[Array, Array, Array, Array]:
        """See `stylizer.Network`."""
        picture, fine = (_rows(part) for part in (style, details))
        with self._maps.lent(*picture.shape[:2]) as maps:
            coarse = self._encoded(maps, feature_maps.unshuffle(picture, fine, SAME, 1.0, 0.0, maps.seen))
            own = statistics(coarse)
            deep = feature_maps.store(coarse.inside(), maps.deep, rectify=True)
            found = np.concatenate([own, *self._itself(maps, deep)])
            patches = patches_of(coarse, own, self._matching)
        return found[None], *(part[None] for part in patches)

    def decode(self, content: Array, details: Array, look: Look, given: Array | None) -> tuple[Array, Array]:
        """See `stylizer.Network`."""
        picture, lent = (_rows(part) for part in (content, details))
        ledger = Ledger(given)
        with self._maps.lent(*picture.shape[:2]) as maps:
            drawn = np.empty_like(picture)
            seen = feature_maps.unshuffle(picture, lent, look.colours[0], look.strength, LENT, maps.seen, drawn)
            self._stylize(maps, seen, look, ledger, drawn)
        colours = ledger.note(_under(_pixel_moments(picture, self._step), look.colours[0]))
        matrix, offset = matching(ledger.note(_pixel_moments(drawn, self._step)), colours, 1.0)
        feature_maps.recolour(drawn, np.concatenate([matrix, offset[:, None]], 1).astype(np.float32))
        return drawn.transpose(2, 0, 1)[None], np.concatenate(ledger.used)[None]

    def _stylize(self, maps: Maps, seen: FeatureMap, look: Look, ledger: Ledger, drawn: Array) -> None:
        coarse, code = self._encoded(maps, seen), look.statistics[0]
        first, wanted = self._split(code)
        own = ledger.note(statistics(coarse))
        patches = Patches(look.filters, look.means, look.deviations, look.weights, self._matching)
        deep = maps.deep.of_scale(max(map(_reach, (own, first))) / 255)
        restyle(coarse, own, first, patches, look.strength, deep)
        self._draw(maps, deep, _Places(self, wanted, self._asked(code), look.strength, ledger), drawn)

    def _encoded(self, maps: Maps, seen: FeatureMap) -> FeatureMap:
        fine = self._convolve("first", seen, Result(kept=maps.fine, rectified=maps.fine_in))
        middle = self._convolve("second", fine, Result(kept=maps.middle, rectified=maps.middle_in), 2)
        source = self._convolve("third", middle, Result(kept=maps.coarse, rectified=maps.deep), 2)
        spare = maps.deep_too, maps.deep
        for index in range(self._blocks):
            last = index + 1 == self._blocks
            result = Result(skip=maps.coarse, kept=maps.coarse, rectified=None if last else spare[index % 2])
            source = self._convolve(f"blocks.{index}", source, result)
        return maps.coarse

    def _itself(self, maps: Maps, deep: FeatureMap) -> list[Array]:
        """Moments of a style at the decoder's places."""
        convolve = self._convolve
        middle = convolve("to_middle", deep, Result(maps.middle, maps.middle_out, maps.middle_in, 2))
        noted = [_moments(maps.middle_out)]
        middle = convolve("middle", middle, Result(kept=maps.middle_out, rectified=maps.middle_too))
        noted.append(_moments(maps.middle_out))
        fine = convolve("to_fine", middle, Result(maps.fine, maps.fine_out, maps.fine_in, 2))
        noted.append(_moments(maps.fine_out, self._step))
        # Of the last layer, only what its moments are of.
        sampled = maps.sampled(self._step)
        convolve("fine", fine, Result(kept=sampled), self._step)
        return [*noted, _moments(sampled)]

    def _draw(self, maps: Maps, deep: FeatureMap, place: _Places, drawn: Array) -> None:
        """Draw over the colours that the encoder saw."""
        convolve = self._convolve
        convolve("to_middle", deep, Result(maps.middle, maps.middle_out, growth=2))
        middle = place(maps.middle_out, maps.middle_in, 1)
        convolve("middle", middle, Result(kept=maps.middle_out))
        middle = place(maps.middle_out, maps.middle_in, 1)
        convolve("to_fine", middle, Result(maps.fine, maps.fine_out, growth=2))
        fine = place(maps.fine_out, maps.fine_in, self._step)
        # The last place's map is part of the layer before it, of which only what its moments are of is computed first.
        sampled = maps.sampled(self._step)
        convolve("fine", fine, Result(kept=sampled), self._step)
        filters = feature_maps.mixed(*self._last, *place.map_of(sampled, 1), self._numbers)
        fine = feature_maps.convolve(fine, filters, Result(rectified=maps.fine_too))
        feature_maps.draw(fine, self._filters["decoder.picture"], drawn, drawn)

    def _convolve(self, name: str, source: FeatureMap | None, result: Result, stride: int = 1) -> FeatureMap | None:
        own = f"encoder.{name}"
        filters = self._filters.get(own) or self._filters[f"decoder.{name}"]
        return feature_maps.convolve(source, filters, result, stride)

    def linear(self, source: FeatureMap, target: FeatureMap, matrix: Array, offset: Array) -> FeatureMap:
        """Rectified matrix [C, C] x + offset [C] of each pixel x."""
        kind: Numbers = "halves" if source.halves else "floats"
        filters = feature_maps.packed(matrix[:, None, None], offset, kind)
        return feature_maps.convolve(source, filters, Result(rectified=target))

    def _split(self, code: Array) -> tuple[Array, list[Array]]:
        ends = np.cumsum([length(segment) for segment in self.segments[:-2]])
        first, *wanted = np.split(code, ends)[:-1]
        return first, wanted

    def _asked(self, code: Array) -> list[Array]:
        """Scales, then shifts, at each place (`student.Modulator`)."""
        first, wanted = self._split(code)
        means, variances = zip(*((mean, covariance.diagonal()) for mean, covariance in map(apart, wanted)), strict=True)
        deviations = np.sqrt(np.maximum(np.concatenate(variances), 0) + EPSILON)
        seen = np.concatenate([first, *means, deviations])
        held = self._weights
        standard = ((seen - held["modulator.centre"]) / held["modulator.spread"]).clip(-4, 4)
        inner = np.maximum(_times(held["modulator.inner.weight"], standard) + held["modulator.inner.bias"], 0)
        asked = _times(held["modulator.outer.weight"], inner) + held["modulator.outer.bias"]
        return np.split(asked, np.cumsum([2 * size for size in self._shape.places])[:-1])

    def _parts(self, name: str) -> tuple[Array, Array]:
        """Filters [outputs, side, side, channels] and their bias."""
        weights = self._weights[f"{name}.weight"]
        if name == "encoder.first":
            # 6 x 6 by twos over 4 channels is 3 x 3 over 2 x 2 pixels' 16: [O, c, (v, dy), (u, dx)].
            parted = weights.reshape(-1, 4, 3, 2, 3, 2).transpose(0, 2, 4, 3, 5, 1)
            weights = parted.reshape(len(parted), 3, 3, 16)
        else:
            weights = weights.transpose(0, 2, 3, 1)
        bias = self._weights[f"{name}.bias"]
        if name == "decoder.picture":
            # Pixel shuffle has (colour, dy, dx).
            order = np.arange(12).reshape(3, 2, 2).transpose(1, 2, 0).ravel()
            weights, bias = weights[order], bias[order]
        return np.ascontiguousarray(weights), bias

    def _checked(self, shape: StudentShape) -> StudentShape:
        held = self._weights
        for name, wanted in shapes_of(shape).items():
            if name not in held or held[name].shape != wanted:
                found = held[name].shape if name in held else "nothing"
                raise BadCheckpoint(self._file, f"{name}: {found}; accepted for {self.variant}: {wanted}")
        if any(size % feature_maps.GROUP for size in shape.channels):
            raise BadCheckpoint(self._file, f"channels {shape.channels}; accepted: multiples of {feature_maps.GROUP}")
        return shape


class Maps:
    """What a picture of a size is computed in."""

    def __init__(self, shape: StudentShape, height: int, width: int, numbers: Numbers) -> None:
        fine, middle, coarse = shape.channels
        half, quarter, eighth = ((height // by, width // by) for by in (2, 4, 8))
        self.seen = convolved_map(*half, 16, numbers, MIDDLE)
        self.fine, self.fine_out = (kept_map(*half, fine, numbers) for _ in range(2))
        self.fine_in, self.fine_too = (convolved_map(*half, fine, numbers) for _ in range(2))
        self.middle, self.middle_out = (kept_map(*quarter, middle, numbers) for _ in range(2))
        self.middle_in, self.middle_too = (convolved_map(*quarter, middle, numbers) for _ in range(2))
        # Whole numbers: the local stage compares them.
        self.coarse = FeatureMap.zeros(*eighth, coarse, 0)
        self.deep, self.deep_too = (convolved_map(*eighth, coarse, numbers) for _ in range(2))

    def sampled(self, step: int) -> FeatureMap:
        """What was decoded at 1/2, at every so many rows and columns, in the same memory."""
        whole = self.fine_out
        return replace(whole, height=-(-whole.height // step), width=-(-whole.width // step))


class _Places:
    """See `student.Matching`: what happens at a place is one linear map of each pixel."""

    def __init__(
        self, network: NativeNetwork, wanted: list[Array], asked: list[Array], share: float, ledger: Ledger
    ) -> None:
        self._linear, self._wanted, self._asked = network.linear, iter(wanted), iter(asked)
        self._share, self._ledger = share, ledger

    def __call__(self, source: FeatureMap, target: FeatureMap, step: int) -> FeatureMap:
        """The target, filled with the source's features as the style has them, rectified."""
        return self._linear(source, target, *self.map_of(source, step))

    def map_of(self, source: FeatureMap, step: int) -> tuple[Array, Array]:
        """The matrix and the offset that give features the style's moments, by those of every so many of them."""
        matrix, offset = matching(self._ledger.note(_moments(source, step)), next(self._wanted), self._share)
        asked = self._share * next(self._asked)
        scale, shift = 1 + asked[: len(offset)], asked[len(offset) :]
        return (scale[:, None] * matrix).astype(np.float32), (scale * offset + shift).astype(np.float32)


def _times(matrix: Array, vector: Array) -> Array:
    # Not by libraries that would wake threads for so little, which then wait beside those of the kernels.
    return np.einsum("ij,j->i", matrix, vector)


def _rows(planes: Array) -> Array:
    """[1, 3, H, W] -> [H, W, 3], without a copy where they lie so."""
    return np.ascontiguousarray(planes[0].transpose(1, 2, 0), np.float32)


def _reach(statistics: Array) -> float:
    """What rectified features of such means and deviations, [2 C], hardly go beyond."""
    means, deviations = np.split(statistics, 2)
    return max(float((means + FAR * deviations).max()), TINY)


def _moments(source: FeatureMap, step: int = 1) -> Array:
    mean, covariance = feature_maps.moments(source, step)
    return np.concatenate([mean, covariance.ravel()])


def _pixel_moments(picture: Array, step: int) -> Array:
    mean, covariance = pixels.moments(picture, step)
    return np.concatenate([mean, covariance.ravel()])


def _under(moments: Array, mapping: Array) -> Array:
    """Moments of colours under a map [3, 4]."""
    mean, covariance = apart(moments)
    matrix = mapping[:, :3]
    return np.concatenate([matrix @ mean + mapping[:, 3], (matrix @ covariance @ matrix.T).ravel()])


def shapes_of(shape: StudentShape) -> dict[str, tuple[int, ...]]:
    """Every array of a student's weights, by name."""
    fine, middle, coarse = shape.channels
    convolutions = {
        "encoder.second": (middle, fine),
        "encoder.third": (coarse, middle),
        **{f"encoder.blocks.{index}": (coarse, coarse) for index in range(2 * shape.depth + 1)},
        "decoder.to_middle": (middle, coarse),
        "decoder.middle": (middle, middle),
        "decoder.to_fine": (fine, middle),
        "decoder.fine": (fine, fine),
        "decoder.picture": (12, fine),
    }
    count = 2 * (coarse + sum(shape.places))
    asked = 2 * sum(shape.places)
    found: dict[str, tuple[int, ...]] = {"encoder.first.weight": (fine, 4, 6, 6), "encoder.first.bias": (fine,)}
    for name, (outputs, inputs) in convolutions.items():
        found |= {f"{name}.weight": (outputs, inputs, 3, 3), f"{name}.bias": (outputs,)}
    found |= {"modulator.centre": (count,), "modulator.spread": (count,)}
    found |= {"modulator.inner.weight": (shape.hidden, count), "modulator.inner.bias": (shape.hidden,)}
    return found | {"modulator.outer.weight": (asked, shape.hidden), "modulator.outer.bias": (asked,)}

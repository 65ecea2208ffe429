"""Sizes of the student: what a graph's metadata tell of it, too, where there is no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadCheckpoint
from ..transform.tiles import Segment


@dataclass(frozen=True)
class StudentShape:
    """Sizes of a student.

    Attributes:
        channels: of the features at 1/2, 1/4 and 1/8.
        depth: pairs of convolutions at 1/8 before the transform.
        hidden: units of the perceptron that turns a style's statistics into scales and shifts.
        matching: channels in which local patches are compared; the first ones of the deepest features, all where 0.
    """

    channels: tuple[int, int, int] = (32, 48, 96)
    depth: int = 0
    matching: int = 24
    hidden: int = 128

    @property
    def places(self) -> tuple[int, ...]:
        """Channels at the places of the decoder at which covariances are exchanged."""
        fine, middle, _ = self.channels
        return middle, middle, fine, fine

    @property
    def segments(self) -> list[Segment]:
        """What a ledger notes, in order."""
        return [("deviations", self.channels[2]), *(("covariances", size) for size in (*self.places, 3, 3))]


EDGE = StudentShape()
QUALITY = StudentShape(channels=(32, 64, 128), depth=1, matching=32, hidden=192)


@dataclass(frozen=True)
class RefinerShape:
    """Sizes of a refiner.

    Attributes:
        channels: of its four layers, two at 1/2 and two at 1/4.
        steps: that a picture takes.
        content: whether slopes also hold on to the content's features, by a weight that is learned.
    """

    channels: tuple[int, int, int, int]
    steps: int = 1
    content: bool = False


REFINERS = {
    "edge": RefinerShape((16, 32, 48, 48)),
    "quality": RefinerShape((32, 64, 96, 96), steps=8, content=True),
    "scene": RefinerShape((32, 64, 128, 256)),
}

SHAPES = {"edge": EDGE, "quality": QUALITY}


def shape_told(told: Mapping[str, str], file: Path) -> StudentShape:
    """The shape that a graph's metadata tell.

    Raises:
        BadCheckpoint: they tell none, or another kind of one.
    """
    if "shape" not in told:
        raise BadCheckpoint(file, "not a student's graph: no shape in its metadata")
    try:
        sizes = json.loads(told["shape"])
        shape = StudentShape(**{**sizes, "channels": tuple(sizes["channels"])})
        if len(shape.channels) != 3 or not all(isinstance(size, int) and size > 0 for size in shape.channels):
            raise ValueError(f"channels {shape.channels}")
    except (ValueError, TypeError, KeyError) as error:
        raise BadCheckpoint(
            file, f"its shape {told['shape']!r} cannot be read ({error}); accepted: a student's"
        ) from None
    return shape

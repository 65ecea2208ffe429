"""Photographs that move by known ways, and videos made steady by plain blending, as a peer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_stylization.video.consistency import trust
from fairlead_stylization.video.flow import opencv, warp

F32 = NDArray[np.float32]
#: Of the photograph's shorter side, how much a frame shows: the rest is to move in.
_SHOWN = 0.69


@dataclass(frozen=True, slots=True)
class Motion:
    """What a camera does from one frame to the next.

    Attributes:
        pan: (x, y) in pixels.
        zoom: factor.
        turn: in radians.
    """

    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    turn: float = 0.0

    def place(self, number: float) -> NDArray[np.float64]:
        """From a frame's pixels, of which (0, 0) is the middle, to the photograph's: affine, [3, 3]."""
        cosine, sine = np.cos(self.turn * number), np.sin(self.turn * number)
        matrix = np.eye(3)
        matrix[:2, :2] = np.array([[cosine, -sine], [sine, cosine]]) / self.zoom**number
        matrix[:2, 2] = np.array(self.pan) * number
        return matrix

    def flow(self, after: int, before: int, side: int) -> F32:
        """Where each pixel of a frame was in another one: [side, side, 2], (x, y) in pixels."""
        between = np.linalg.inv(self.place(before)) @ self.place(after)
        return (_moved(between, side) - _moved(np.eye(3), side)).astype(np.float32)


MOTIONS = {
    "pan": Motion(pan=(0.83, 0.37)),
    "zoom": Motion(pan=(0.1, 0.05), zoom=1.004),
    "turn": Motion(pan=(0.0, 0.2), turn=np.deg2rad(0.25)),
    "fast pan": Motion(pan=(3.3, 1.1)),
}


def frames(photograph: F32, motion: Motion, count: int, side: int) -> list[F32]:
    """Frames [side, side, 3] of a photograph, by Lanczos's kernel; it goes on mirrored beyond its border."""
    cv2 = opencv()
    scale = side / _SHOWN / min(photograph.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large = np.asarray(cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=kind), np.float32)
    middle = np.array([large.shape[1] - 1, large.shape[0] - 1]) / 2 - np.array(motion.pan) * count / 2
    return [_seen(large, _moved(motion.place(number), side) + middle) for number in range(count)]


def _moved(matrix: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.stack([x, y], axis=2) @ matrix[:2, :2].T + matrix[:2, 2]


def _seen(picture: F32, places: NDArray[np.float64]) -> F32:
    x, y = (np.ascontiguousarray(places[..., axis], np.float32) for axis in (0, 1))
    cv2 = opencv()
    seen = cv2.remap(picture, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.clip(seen, 0, 1).astype(np.float32)


class PlainBlend:
    """The last output, moved along and blended in."""

    def __init__(self, blend: float, tolerance: float = 0.06) -> None:
        self._blend, self._tolerance = blend, tolerance
        cv2 = opencv()
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._last: tuple[F32, F32] | None = None

    def step(self, frame: F32, stylized: F32) -> F32:
        """The frame's output."""
        out = stylized
        if self._last is not None:
            before, output = self._last
            backward = self._flow(frame, before)
            trusted = trust(frame, before, backward, self._flow(before, frame), self._tolerance)
            out = stylized + self._blend * trusted[..., None] * (warp(output, backward) - stylized)
            out = np.clip(out, 0, 1).astype(np.float32)
        self._last = (frame, out)
        return out

    def _flow(self, after: F32, before: F32) -> F32:
        cv2 = opencv()
        one, other = (cv2.cvtColor((255 * picture).astype(np.uint8), cv2.COLOR_RGB2GRAY) for picture in (after, before))
        return np.asarray(self._search.calc(one, other, None), np.float32)

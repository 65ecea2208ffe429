"""Stylized frames that agree with those before: the last output, moved along, is blended in where it can be trusted.

Colours are blended from frame to frame. Detail is taken from an output some frames ago, moved along once by the
whole way since, as long as it can be followed: strokes that are moved a bit and mixed with others in each frame blur
away. What cannot be followed so far takes the last output's detail, what cannot be followed at all stands for itself.
How strong detail was goes along with it (`detail`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .detail import energies, mixed
from .flow import inside, optical_flow, traceable, warp, warp_finely

F32 = NDArray[np.float32]
#: For so many frames detail comes from the same output: errors of flow add up along the way, and what came in since is
#: in the next one.
PERIOD = 8


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How much of the moved last frame is taken.

    Attributes:
        blend: of it, at most; 0: each frame stands for itself. Of colours n frames ago ``blend**n`` is left.
        tolerance: mean difference of colours, of 1, at which the moved input says that it is another thing: half of
            ``blend`` is taken there.
        cut: mean difference between frames, of 1, from which they are taken for two scenes.
    """

    blend: float = 0.75
    tolerance: float = 0.06
    cut: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.blend < 1:
            raise ValueError(f"blend {self.blend}: accepted: from 0 to below 1")
        if not self.tolerance > 0 or not self.cut > 0:
            raise ValueError(f"tolerance {self.tolerance}, cut {self.cut}: accepted: above 0")

    @property
    def kept(self) -> float:
        """How much of an earlier output's detail is taken, at most.

        More than of colours: what a new frame adds makes strokes of the one that are seen through the other.
        """
        return 1 - (1 - self.blend) ** 2


@dataclass(frozen=True, slots=True)
class _Anchor:
    """An output that detail is taken from.

    Attributes:
        output: float32 [height, width, 3].
        strong: how strong its detail should be, by bands: [height, width] each.
        way: where the last frame's pixels are in it, [height, width, 2].
        sure: how far the last frame's pixels could be followed to it, [height, width] in [0, 1].
        age: in frames.
    """

    output: F32
    strong: list[F32]
    way: F32
    sure: F32
    age: int = 0

    @classmethod
    def at(cls, output: F32, strong: list[F32]) -> _Anchor:
        size = output.shape[:2]
        return cls(output, strong, np.zeros((*size, 2), np.float32), np.ones(size, np.float32))

    def followed(self, backward: F32, trusted: F32) -> _Anchor:
        """As it is seen from the next frame."""
        way = backward + warp(self.way, backward)
        sure = np.clip(warp(self.sure, backward), 0, 1) * np.where(inside(way), trusted, 0)
        return _Anchor(self.output, self.strong, way, sure.astype(np.float32), self.age + 1)


@dataclass(frozen=True, slots=True)
class _Last:
    """The last frame, its output, how strong its detail should be (by bands), and where its detail is from."""

    frame: F32
    output: F32
    strong: list[F32]
    anchor: _Anchor


class SteadyFrames:
    """Takes frames and what they were stylized to, in order, and returns steadier ones."""

    def __init__(self, steadiness: Steadiness | None = None) -> None:
        self._steadiness = steadiness or Steadiness()
        self._last: _Last | None = None

    def step(self, frame: F32, stylized: F32) -> F32:
        """Return the frame's output: float32 [height, width, 3]; after a cut it is ``stylized`` itself."""
        if self._steadiness.blend == 0:
            return stylized
        if self._last is None or self._is_cut(frame, self._last.frame):
            strong = energies(stylized)
            self._last = _Last(frame, stylized, strong, _Anchor.at(stylized, strong))
        else:
            self._last = self._blended(frame, stylized, self._last)
        return self._last.output

    def _blended(self, frame: F32, stylized: F32, last: _Last) -> _Last:
        backward = optical_flow(frame, last.frame)
        forward = optical_flow(last.frame, frame)
        trusted = trust(frame, last.frame, backward, forward, self._steadiness.tolerance)
        anchor = last.anchor.followed(backward, trusted)
        blend, kept = np.float32(self._steadiness.blend), np.float32(self._steadiness.kept)
        coarse = (blend * trusted).astype(np.float32)
        fine = (trusted * (blend + (kept - blend) * anchor.sure)).astype(np.float32)
        strong = [
            _between(now, _between(_moved(near, backward), _moved(far, anchor.way), anchor.sure), fine)
            for now, near, far in zip(energies(stylized), last.strong, anchor.strong, strict=True)
        ]
        near, far = warp_finely(last.output, backward), warp_finely(anchor.output, anchor.way)
        out = mixed(stylized, near, far, sure=anchor.sure, coarse=coarse, fine=fine, wanted=strong)
        out = np.clip(out, 0, 1).astype(np.float32)
        return _Last(frame, out, strong, _Anchor.at(out, strong) if anchor.age >= PERIOD else anchor)

    def _is_cut(self, frame: F32, before: F32) -> bool:
        return frame.shape != before.shape or float(np.abs(frame - before).mean()) > self._steadiness.cut


def _between(one: F32, other: F32, share: F32) -> F32:
    return one + share * (other - one)


def _moved(energy: F32, flow: F32) -> F32:
    """Warped; the lobes of a cubic may fall below 0."""
    return np.maximum(warp(energy, flow), 0).astype(np.float32)


def trust(frame: F32, before: F32, backward: F32, forward: F32, tolerance: float) -> F32:
    """How far a pixel is the one that the flow says: [height, width] in [0, 1].

    0 where it cannot be followed (`traceable`); else 1 / (1 + (d / tolerance)^2) for a difference of colours d.
    """
    difference = np.abs(warp(before, backward) - frame).mean(axis=2)
    trusted = 1 / (1 + (difference / tolerance) ** 2)
    return np.where(traceable(backward, forward), trusted, 0).astype(np.float32)


def warped_rmse(first: F32, second: F32, backward: F32, visible: NDArray[np.bool_]) -> float:
    """How far two outputs disagree about what both show: RMSE over visible pixels (Lai et al., ECCV 2018).

    Args:
        first, second: outputs [height, width, 3]; ``backward`` leads from the second to the first.
        visible: [height, width], pixels of the second that the first shows too.

    Returns:
        0 where they agree; NaN where nothing is visible in both.
    """
    if not visible.any():
        return float("nan")
    return float(np.sqrt(((warp(first, backward) - second)[visible] ** 2).mean()))

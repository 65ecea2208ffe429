"""Stylized frames that agree with those before: the last output, moved along, is blended in where it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .flow import optical_flow, traceable, warp

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How much of the moved last frame is taken.

    Attributes:
        blend: of it, at most; 0: each frame stands for itself. Of n frames ago ``blend**n`` is left.
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


class SteadyFrames:
    """Takes frames and what they were stylized to, in order, and returns steadier ones."""

    def __init__(self, steadiness: Steadiness | None = None) -> None:
        self._steadiness = steadiness or Steadiness()
        self._last: tuple[F32, F32] | None = None

    def step(self, frame: F32, stylized: F32) -> F32:
        """Return the frame's output: float32 [height, width, 3]; after a cut it is ``stylized`` itself."""
        out = stylized
        if self._steadiness.blend > 0 and self._last is not None and not self._is_cut(frame):
            before, output = self._last
            backward = optical_flow(frame, before)
            trusted = trust(frame, before, backward, optical_flow(before, frame), self._steadiness.tolerance)
            share = self._steadiness.blend * trusted[..., None]
            out = np.clip(stylized + share * (warp(output, backward) - stylized), 0, 1).astype(np.float32)
        self._last = (frame, out)
        return out

    def _is_cut(self, frame: F32) -> bool:
        assert self._last is not None
        before = self._last[0]
        return frame.shape != before.shape or float(np.abs(frame - before).mean()) > self._steadiness.cut


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

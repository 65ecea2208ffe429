"""How pixels moved between two frames, and which of them can be told."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture, MissingExtra

F32 = NDArray[np.float32]
#: DIS needs patches of 8 pixels on its coarsest scale.
LEAST_SIDE = 16


def opencv() -> ModuleType:
    """Return OpenCV; raises MissingExtra where it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("Optical flow", "video") from error
    return cv2


def optical_flow(after: F32, before: F32) -> F32:
    """Where each pixel of a frame was in another one: float32 [height, width, 2], (x, y) in pixels.

    Dense inverse search (Kroeger et al., ECCV 2016), as OpenCV has it, down to single pixels and smooth: on photographs
    that were moved by known parts of a pixel it is 0.04 pixels wrong in the mean, as OpenCV's preset has it 0.15. Along
    the way of many frames errors add up, and strokes would crumble.

    Args:
        after, before: frames float32 [height, width, 3] in [0, 1].

    Raises:
        BadPicture: frames of different sizes.
        MissingExtra: OpenCV is not installed.
    """
    if after.shape != before.shape or after.ndim != 3 or after.shape[2] != 3:
        raise BadPicture(f"frames {after.shape} and {before.shape}; accepted: two of the same size, [height, width, 3]")
    height, width = after.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return np.zeros((height, width, 2), np.float32)
    cv2 = opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)
    search.setVariationalRefinementIterations(5)
    search.setVariationalRefinementAlpha(100.0)
    return np.asarray(search.calc(_grey(after), _grey(before), None), np.float32)


def warp(picture: F32, flow: F32) -> F32:
    """Return the picture as seen from the frame that ``flow`` belongs to: out[y, x] = picture[y + flow_y, x + flow_x].

    Between pixels it is interpolated bicubically. Beyond the border the nearest pixel stands. Shapes: [height, width]
    or [height, width, channels], and [height, width, 2].
    """
    return _warped(picture, flow, opencv().INTER_CUBIC)


def warp_finely(picture: F32, flow: F32) -> F32:
    """The same by Lanczos's kernel over 8 x 8 pixels, which keeps more of the finest strokes than a cubic does."""
    return _warped(picture, flow, opencv().INTER_LANCZOS4)


def _warped(picture: F32, flow: F32, kernel: int) -> F32:
    cv2 = opencv()
    height, width = flow.shape[:2]
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = (across + flow[..., 0], down + flow[..., 1])
    return np.asarray(cv2.remap(picture, *places, kernel, borderMode=cv2.BORDER_REPLICATE), np.float32)


def inside(flow: F32) -> NDArray[np.bool_]:
    """Whether where a pixel came from lies within the frame: [height, width]."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32)[None, :] + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def traceable(backward: F32, forward: F32) -> NDArray[np.bool_]:
    """Which pixels can be followed: going back and forth leads to where one began (Ruder et al., GCPR 2016, eq. 7).

    Pixels that were hidden, or came in at the border, fail.

    Args:
        backward: from this frame to the one before, [height, width, 2].
        forward: from the one before to this one.
    """
    there = warp(forward, backward)
    error = ((backward + there) ** 2).sum(axis=2)
    size = (backward**2).sum(axis=2) + (there**2).sum(axis=2)
    return (error <= 0.01 * size + 0.5) & inside(backward)


def _grey(frame: F32) -> NDArray[np.uint8]:
    grey = frame @ np.array([0.299, 0.587, 0.114], np.float32)
    return (np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8)

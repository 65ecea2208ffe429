"""Photographs that move by known ways: the flow that figures rest on."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not measured")

from benchmarks.stylizing.moving import MOTIONS, PlainBlend, frames
from fairlead_stylization.video.flow import inside, warp

SIDE = 96


def smooth() -> np.ndarray:
    """A picture that warps hardly change."""
    y, x = np.mgrid[:200, :240].astype(np.float32)
    parts = [np.sin(x * a + y * b + c) for a, b, c in ((0.11, 0.05, 0), (0.03, 0.14, 1), (-0.09, 0.08, 2))]
    return (0.5 + 0.4 * np.stack(parts, axis=2)).astype(np.float32)


@pytest.mark.parametrize("name", MOTIONS)
def test_a_frame_is_an_earlier_one_moved_by_the_flow(name: str) -> None:
    made, motion = frames(smooth(), MOTIONS[name], 9, SIDE), MOTIONS[name]
    for before in (1, 7):
        flow = motion.flow(8, before, SIDE)
        there = inside(flow)
        there[:4], there[-4:], there[:, :4], there[:, -4:] = False, False, False, False
        assert there.mean() > 0.5
        assert np.abs(warp(made[before], flow) - made[8])[there].mean() < 0.004
        assert np.abs(made[before] - made[8])[there].mean() > 0.004


def test_plain_blending_takes_the_share_that_it_is_told() -> None:
    frame, steady = frames(smooth(), MOTIONS["pan"], 1, SIDE)[0], PlainBlend(0.75)
    steady.step(frame, np.zeros_like(frame))
    np.testing.assert_allclose(steady.step(frame, np.ones_like(frame)), 0.25, atol=0.01)

"""A scene in a style: its pattern is stylized once, and every view of it agrees with every other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture
from .pattern import Pattern, fit_pattern
from .scene import Scene

F32 = NDArray[np.float32]

#: How much of what charts lack is given back to discs: all of it again and again would sharpen what views disagree on.
GIVEN = 1.1


@dataclass(frozen=True, slots=True)
class StylizedScene:
    """A scene with its pattern, before and after.

    Attributes:
        scene: with the style's colours.
        plain: as it was.
        pattern: where discs lie in the atlas.
        atlas: the stylized one, float32 [height, width, 3].
    """

    scene: Scene
    plain: Scene
    pattern: Pattern
    atlas: F32


def stylize_scene(
    scene: Scene,
    stylize: Callable[[F32], F32],
    *,
    pattern: Pattern | None = None,
    prompt: F32 | None = None,
    strength: float = 1.0,
) -> StylizedScene:
    """Stylize a scene's pattern and take its discs' colours from it.

    Args:
        scene: the surfaces and their colours.
        stylize: makes of a picture float32 [height, width, 3] another of that size; it is called once.
        pattern: of the scene, if it was fitted before.
        prompt: added to the atlas before it is stylized (`prompt.fit_prompt`).
        strength: from 0 (the scene as it was) to 1.
    """
    pattern = pattern or fit_pattern(scene)
    plain = pattern.atlas(scene.colours, scene.background)
    atlas = stylize(np.clip(plain if prompt is None else plain + prompt, 0, 1).astype(np.float32))
    if atlas.shape != plain.shape or not np.isfinite(atlas).all():
        raise BadPicture(f"stylized atlas {atlas.shape}; accepted: finite values {plain.shape}")
    colours = settled(pattern, atlas, scene.background)
    if strength < 1:
        colours = scene.colours + np.float32(strength) * (colours - scene.colours)
    return StylizedScene(scene.with_colours(colours), scene, pattern, atlas)


def settled(pattern: Pattern, atlas: F32, background: tuple[float, float, float]) -> F32:
    """Colours [discs, 3] with which charts show about what was painted on them.

    A pixel shows several discs at once, and a disc takes its colour from several pixels: painted strokes would come out
    blurred. What charts lack is given back to the discs, once (a step of Landweber's iteration for the rendering, which
    is linear).
    """
    colours = pattern.colours(atlas)
    lacking = atlas - pattern.atlas(colours, background)
    return np.clip(colours + np.float32(GIVEN) * pattern.colours(lacking), 0, 1)

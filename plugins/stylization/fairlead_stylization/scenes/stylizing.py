"""A scene in a style: its pattern is stylized once, and every view of it agrees with every other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture
from ..quality.similarity import high_frequency_energy
from .agreement import Held, agreeing
from .camera import Camera
from .painting import put_on
from .pattern import Pattern, fit_pattern
from .refinement import Slope, refined
from .scene import Scene
from .splatting import Splats, splat

F32 = NDArray[np.float32]

#: Standard deviations in pixels: of what discs are painted without, and of what is coarse enough as it is. Far apart,
#: they would make wide haloes around what is dark.
FINEST, COARSER = 0.45, 1.4
#: Share that views are to have of the high-frequency energy which the stylizer gives them as pictures.
DETAIL = 1.0
#: Views that are looked at for it, none of them a chart: where charts are, more detail is left than between them.
LOOKED_AT = 8
#: How much of what lies between both deviations is added, at least and at most; put right so many times.
LEAST, MOST, STEPS = -1.0, 4.0, 2


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
    slope: Slope | None = None,
) -> StylizedScene:
    """Stylize a scene's pattern and take its discs' colours from it.

    Args:
        scene: the surfaces and their colours.
        stylize: makes of a picture float32 [height, width, 3] another of that size; it is called for the pattern, and
            for a few views, which say how much fine detail it draws.
        pattern: of the scene, if it was fitted before.
        prompt: added to the atlas before it is stylized (`prompt.fit_prompt`).
        strength: from 0 (the scene as it was) to 1.
        slope: of the style, by which views are refined as the stylizer refines pictures; what it tells of the style
            and of the scene is held while they come to agree.
    """
    pattern = pattern or fit_pattern(scene)
    plain = pattern.atlas(scene.colours, scene.behind(pattern.size))
    atlas = stylize(np.clip(plain if prompt is None else plain + prompt, 0, 1).astype(np.float32))
    if atlas.shape != plain.shape or not np.isfinite(atlas).all():
        raise BadPicture(f"stylized atlas {atlas.shape}; accepted: finite values {plain.shape}")
    views = [splat(scene, camera) for camera in between_charts(scene, pattern.size)]
    seen = [np.clip(view.render(scene.colours, scene.background), 0, 1) for view in views]
    drawn = [_drawn(stylize, view, scene) for view in views]
    detail = _detail(drawn)
    colours = settled(pattern, atlas, views, detail, scene.background, put_on(pattern, atlas, scene.background))
    if slope is not None:
        nearer = refined(scene, views, drawn, colours, slope)
        if nearer is not colours:
            # What is drawn on views adds fine detail, or takes some.
            colours = settled(pattern, atlas, views, detail, scene.background, nearer)
    # What is put right afterwards is what views do not show alike: it would cost twice the agreement that it is worth.
    colours = agreeing(pattern, scene, colours, None if slope is None else Held.of(slope, drawn, seen))
    if strength < 1:
        colours = scene.colours + np.float32(strength) * (colours - scene.colours)
    return StylizedScene(scene.with_colours(colours), scene, pattern, atlas)


def between_charts(scene: Scene, size: tuple[int, int]) -> list[Camera]:
    """Cameras that see a scene from places spread evenly between those where charts may lie."""
    return scene.views(2 * LOOKED_AT + bool(scene.cameras), size)[1::2]


def _drawn(stylize: Callable[[F32], F32], view: Splats, scene: Scene) -> F32:
    """What a stylizer makes of a view, its background kept."""
    plain = view.render(scene.colours, scene.behind(view.size))
    drawn = stylize(np.clip(plain, 0, 1).astype(np.float32))
    return np.where(view.seen[..., None], drawn, np.float32(scene.background))


def settled(
    pattern: Pattern, atlas: F32, views: Sequence[Splats], detail: float, background: tuple[float, float, float],
    colours: F32,
) -> F32:  # fmt: skip
    """Colours [discs, 3] with which views show what was painted on charts, with about as much fine detail as wanted.

    Single pixels come out differently in every view, as no two views' pixels show the same places. What is a little
    coarser agrees, and is made stronger, or weaker, until views have their share of the high-frequency energy.

    Args:
        pattern: whose charts were painted.
        atlas: the painted charts, float32 [height, width, 3].
        views: that are looked at.
        detail: high-frequency energy that a stylizer gives these views as pictures.
        background: of views.
        colours: float32 [discs, 3] to begin with.
    """
    more = pattern.colours(blurred(atlas, FINEST) - blurred(atlas, COARSER))
    wanted = asked = DETAIL * detail
    energies = _energies(views, colours, more, background)
    made = colours
    for step in range(1 + STEPS):
        made = np.clip(colours + np.float32(_amount(energies, asked)) * more, 0, 1)
        if step < STEPS:
            # Colours end at 0 and 1, which takes a part of the energy: so much more is asked for.
            asked *= wanted / max(_detail([view.render(made, background) for view in views]), 1e-12)
    return made


def _detail(views: Sequence[F32]) -> float:
    return float(np.mean([high_frequency_energy(view) for view in views]))


def _energies(
    views: Sequence[Splats], base: F32, more: F32, background: tuple[float, float, float]
) -> tuple[float, float, float]:
    """High-frequency energy of views of ``base + amount * more``: what the amount's powers 0, 1 and 2 are taken by.

    Rendering is linear in colours: a view of a sum is the sum of views.
    """
    pairs = [(view.render(base, background), view.render(more, (0.0, 0.0, 0.0))) for view in views]
    none, once, twice = (
        _detail([first + np.float32(amount) * second for first, second in pairs]) for amount in (0, 1, 2)
    )
    square = (twice - 2 * once + none) / 2
    return none, once - none - square, square


def _amount(energies: tuple[float, float, float], wanted: float) -> float:
    """How much gives the wanted energy, or the energy next to it, within [LEAST, MOST]."""
    none, slope, square = energies
    if square <= 1e-12:
        return 0.0
    least = slope / (2 * square)
    above = max(least * least + (wanted - none) / square, 0.0)
    return float(np.clip(np.sqrt(above) - least, LEAST, MOST))


def blurred(picture: F32, deviation: float) -> F32:
    """A picture [height, width, channels] under a Gaussian of so many pixels, its edges going on."""
    reach = int(np.ceil(3 * deviation))
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (places / deviation) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(picture, [(reach, reach) if axis == place else (0, 0) for place in range(3)], mode="edge")
        size = picture.shape[axis]
        picture = sum(
            weight * padded.take(range(shift, shift + size), axis=axis) for shift, weight in enumerate(weights)
        )
    return picture

"""Views are refined until they are as near to a style as a stylizer's own pictures of them, and no further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from fairlead_stylization.networks.running import WEIGHTS, shipped_slope
from fairlead_stylization.scenes.camera import Camera, looking_at
from fairlead_stylization.scenes.pattern import fit_pattern
from fairlead_stylization.scenes.refinement import FURTHER, ROUNDS, refined
from fairlead_stylization.scenes.scene import Scene
from fairlead_stylization.scenes.splatting import Splats, splat
from fairlead_stylization.scenes.stylizing import between_charts, stylize_scene


@dataclass
class TowardsGrey:
    """Squared distance from a grey, and a part of the way to it."""

    grey: float = 0.5
    part: float = 0.5
    strength: float = 1.0
    asked: list[np.ndarray] = field(default_factory=list)

    def loss(self, picture: np.ndarray) -> float:
        return float(np.square(picture - self.grey).mean())

    def slope(self, picture: np.ndarray, content: np.ndarray, hold: float) -> tuple[float, float, np.ndarray]:
        apart = picture - content
        slope = 2 * (picture - np.float32(self.grey) + np.float32(hold) * apart) / np.float32(picture.size)
        return self.loss(picture), float(np.square(apart).mean()), slope

    def refined(self, picture: np.ndarray) -> np.ndarray:
        self.asked.append(picture)
        return (picture + np.float32(self.part * self.strength) * (self.grey - picture)).astype(np.float32)


@pytest.fixture(scope="module")
def wall() -> Scene:
    """A wall that fills its views, in two colours, in front of black."""
    side = np.linspace(-2, 2, 80, dtype=np.float32)
    points = np.stack([*(axis.ravel() for axis in np.meshgrid(side, side)), np.zeros(6400, np.float32)], axis=1)
    colours = np.where(points[:, :1] > 0, np.float32([[0.9, 0.2, 0.1]]), np.float32([[0.1, 0.3, 0.8]]))
    return Scene(points, colours.astype(np.float32), np.full(6400, 0.04, np.float32), background=(0.0, 0.0, 0.0))


def seen_from(places: Sequence[float], scene: Scene, away: float = 2.5) -> list[Splats]:
    def camera(x: float) -> Camera:
        eye, middle, up = np.float32([[x, 0, away], [0, 0, 0], [0, 1, 0]])
        return looking_at(eye, middle, up, size=(64, 64))

    return [splat(scene, camera(x)) for x in places]


def mean_loss(slope: TowardsGrey, views: Sequence[Splats], colours: np.ndarray, scene: Scene) -> float:
    return float(np.mean([slope.loss(view.render(colours, scene.background)) for view in views]))


def test_views_come_as_near_as_they_shall_and_no_further(wall: Scene) -> None:
    views, slope = seen_from((-0.5, 0, 0.5), wall), TowardsGrey()
    drawn = [np.full((64, 64, 3), 0.7, np.float32)] * 3
    made = refined(wall, views, drawn, wall.colours, slope)
    surface = float(np.mean([view.seen.mean() for view in views]))
    wanted = (1 - FURTHER * surface**2) * 0.04
    assert mean_loss(slope, views, wall.colours, wall) > 0.08
    assert mean_loss(slope, views, made, wall) == pytest.approx(wanted, rel=0.35)
    # Other views of the same discs have it too.
    assert mean_loss(slope, seen_from((-0.25, 0.25), wall), made, wall) == pytest.approx(wanted, rel=0.4)


def test_views_that_are_near_enough_stay(wall: Scene) -> None:
    views = seen_from((0,), wall)
    drawn = [np.zeros((64, 64, 3), np.float32)]
    far = TowardsGrey(grey=0.9)
    assert refined(wall, views, drawn, wall.colours, far) is wall.colours
    assert far.asked == []


def test_surfaces_do_not_make_up_for_what_background_lacks(wall: Scene) -> None:
    """From far away most of a view is background, which no disc changes: hardly more is asked for than was drawn."""
    slopes = TowardsGrey(), TowardsGrey()
    left = []
    for slope, away in zip(slopes, (2.5, 12.0), strict=True):
        views = seen_from((0,), wall, away)
        plain = [view.render(wall.colours, wall.background) for view in views]
        pairs = zip(views, plain, strict=True)
        drawn = [np.where(view.seen[..., None], np.float32(0.6), picture) for view, picture in pairs]
        made = refined(wall, views, drawn, wall.colours, slope)
        left.append(mean_loss(slope, views, made, wall) / float(np.mean([slope.loss(each) for each in drawn])))
    near, far = left
    assert near < 0.8 and far > 0.95


def test_steps_that_lead_nowhere_are_not_taken(wall: Scene) -> None:
    views = seen_from((0,), wall)
    drawn = [np.full((64, 64, 3), 0.5, np.float32)]
    wrong = TowardsGrey(part=-0.5)
    np.testing.assert_array_equal(refined(wall, views, drawn, wall.colours, wrong), wall.colours)
    assert len(wrong.asked) == 1
    slow = TowardsGrey(part=0.2)
    refined(wall, views, drawn, wall.colours, slow)
    assert len(slow.asked) == ROUNDS


def test_at_no_strength_colours_stay(wall: Scene) -> None:
    views = seen_from((0,), wall)
    drawn = [np.full((64, 64, 3), 0.5, np.float32)]
    none = TowardsGrey(strength=0.0)
    np.testing.assert_array_equal(refined(wall, views, drawn, wall.colours, none), wall.colours)


@pytest.mark.skipif(not (WEIGHTS / "scene-refiner.safetensors").is_file(), reason="the shipped slope is missing")
def test_a_baked_scene_has_more_of_the_style_with_its_slope(wall: Scene) -> None:
    rng = np.random.default_rng(3)
    style = np.kron(rng.random((16, 16, 3)), np.ones((8, 8, 1))).astype(np.float32)
    slope = shipped_slope([(style, 1.0)])
    assert slope is not None
    pattern = fit_pattern(wall, charts=4, size=64)

    def drawn(picture: np.ndarray) -> np.ndarray:
        return np.clip(slope.refined(slope.refined(picture)), 0, 1).astype(np.float32)

    def pale(picture: np.ndarray) -> np.ndarray:
        return drawn(picture) if picture.shape[0] == 64 else picture

    plain = stylize_scene(wall, pale, pattern=pattern).scene
    made = stylize_scene(wall, pale, pattern=pattern, slope=slope).scene
    again = stylize_scene(wall, pale, pattern=pattern, slope=slope).scene
    views = [splat(wall, camera) for camera in between_charts(wall, pattern.size)]
    losses = [np.mean([slope.loss(view.render(scene.colours, wall.background)) for view in views])
              for scene in (plain, made)]  # fmt: skip
    assert losses[1] < 0.9 * losses[0]
    np.testing.assert_array_equal(made.colours, again.colours)

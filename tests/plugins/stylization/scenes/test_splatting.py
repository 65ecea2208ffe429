"""What cameras see of a scene: places, occlusion, closed surfaces, weights that let colours change."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_stylization.errors import BadPicture, BadSetting
from fairlead_stylization.scenes.camera import Camera, looking_at, turntable
from fairlead_stylization.scenes.scene import Scene
from fairlead_stylization.scenes.splatting import splat


def plane(depth: float, colour: tuple[float, float, float], count: int = 60, half: float = 1.0) -> Scene:
    """A square of discs that faces down the z axis."""
    side = np.linspace(-half, half, count, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    points = np.stack([x.ravel(), y.ravel(), np.full(count * count, depth, np.float32)], axis=1)
    radius = np.full(len(points), 2 * half / count, np.float32)
    return Scene(points, np.tile(np.float32(colour), (len(points), 1)), radius)


def joined(*scenes: Scene) -> Scene:
    parts = ([getattr(scene, name) for scene in scenes] for name in ("points", "colours", "radii"))
    return Scene(*(np.concatenate(part) for part in parts))


FRONT = Camera((64.0, 64.0), (32.0, 32.0), (64, 64), np.eye(4, dtype=np.float32))


def test_points_go_to_pixels_and_back() -> None:
    rng = np.random.default_rng(0)
    camera = looking_at(np.float32([1, 2, -3]), np.float32([0.2, 0, 0]), np.float32([0, 1, 0]), size=(80, 60))
    points = rng.uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(camera.unproject(pixels, depth), points, atol=1e-4)
    middle, _ = camera.project(np.float32([[0.2, 0, 0]]))
    np.testing.assert_allclose(middle[0], [40, 30], atol=1e-3)
    above, _ = camera.project(np.float32([[0.2, 0.3, 0]]))
    assert above[0, 1] < middle[0, 1]


def test_what_is_nearer_hides_what_is_behind() -> None:
    red, blue = plane(2.0, (1, 0, 0), half=0.5), plane(3.0, (0, 0, 1), half=2.0)
    scene = joined(blue, red)
    view = splat(scene, FRONT).render(scene.colours)
    np.testing.assert_allclose(view[32, 32], [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(view[4, 4], [0, 0, 1], atol=1e-5)


def test_a_surface_has_no_holes_and_keeps_its_colour() -> None:
    scene = plane(2.0, (0.3, 0.6, 0.1), count=90, half=3.0)
    found = splat(scene, FRONT)
    assert found.seen.all()
    np.testing.assert_allclose(found.depth, 2.0, atol=1e-4)
    np.testing.assert_allclose(found.render(scene.colours), np.broadcast_to([0.3, 0.6, 0.1], (64, 64, 3)), atol=1e-5)


def test_weights_of_a_pixel_sum_to_one() -> None:
    found = splat(joined(plane(2.0, (1, 0, 0)), plane(2.5, (0, 1, 0), half=2.0)), FRONT)
    total = np.bincount(found.pixels, found.weights, minlength=64 * 64)
    np.testing.assert_allclose(total[found.seen.ravel()], 1, atol=1e-5)
    assert (total[~found.seen.ravel()] == 0).all()


def test_other_colours_are_only_a_sum_away() -> None:
    scene = plane(2.0, (0, 0, 0), half=3.0)
    found = splat(scene, FRONT)
    x = (scene.points[:, :1] + 3) / 6
    view = found.render(np.repeat(x, 3, axis=1).astype(np.float32))
    assert (np.diff(view[32, :, 0]) > 0).all()


def test_backs_and_what_is_behind_the_camera_are_not_seen() -> None:
    back = plane(2.0, (1, 0, 0))
    back = Scene(back.points, back.colours, back.radii, np.tile(np.float32([0, 0, 1]), (len(back.points), 1)))
    assert not splat(back, FRONT).seen.any()
    assert not splat(plane(-2.0, (1, 0, 0)), FRONT).seen.any()
    assert (splat(back, FRONT).render(back.colours, (0.2, 0.3, 0.4)) == np.float32([0.2, 0.3, 0.4])).all()


def test_a_turntable_sees_the_whole_from_all_around() -> None:
    rng = np.random.default_rng(1)
    ball = rng.standard_normal((4000, 3)).astype(np.float32)
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    scene = Scene(ball + np.float32([5, 0, 0]), np.full((4000, 3), 0.5, np.float32), np.full(4000, 0.06, np.float32))
    for camera in turntable(scene.centre, 1.1, 6, up=np.float32([0, 0, 1]), size=(48, 48)):
        seen = splat(scene, camera).seen
        rows, columns = np.nonzero(seen)
        assert rows.min() > 0 and rows.max() < 47 and columns.min() > 0 and columns.max() < 47
        assert 0.35 < seen.mean() < 0.85
    assert len(scene.views(5, (32, 32))) == 5


def test_views_of_a_scene_with_cameras_lie_between_them() -> None:
    ends = [
        looking_at(np.float32([x, 0, -4]), np.float32([0, 0, 0]), np.float32([0, 1, 0]), size=(64, 48)) for x in (-1, 1)
    ]
    scene = Scene(
        np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32), np.ones(1, np.float32), cameras=tuple(ends)
    )
    views = scene.views(3, (32, 24))
    np.testing.assert_allclose(views[0].position, [-1, 0, -4], atol=1e-4)
    np.testing.assert_allclose(views[1].position, [0, 0, -4], atol=1e-4)
    rotation = views[1].world_to_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert views[0].size == (32, 24)


def test_bad_scenes_and_cameras_are_named() -> None:
    one = np.zeros((1, 3), np.float32)
    with pytest.raises(BadPicture, match="no point"):
        Scene(one[:0], one[:0], np.ones(0, np.float32))
    with pytest.raises(BadPicture, match=r"points .*finite"):
        Scene(one * np.nan, one, np.ones(1, np.float32))
    with pytest.raises(BadSetting, match="world_to_camera"):
        Camera((1, 1), (0, 0), (1, 1), np.eye(3, dtype=np.float32))

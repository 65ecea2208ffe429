"""Views by torch are those by the kernels, on whatever device there is."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing is rendered by it")

from fairlead_stylization.errors import BadSetting  # noqa: E402
from fairlead_stylization.scenes.rendering import TorchRenderer  # noqa: E402
from fairlead_stylization.scenes.scene import Scene  # noqa: E402
from fairlead_stylization.scenes.splatting import splat  # noqa: E402

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def ball(normals: bool = True, count: int = 4000) -> Scene:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((count, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    radii = rng.uniform(0.01, 0.12, count).astype(np.float32)
    colours = rng.random((count, 3)).astype(np.float32)
    return Scene(points, colours, radii, points if normals else None, background=(0.2, 0.4, 0.6))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("normals", [True, False])
def test_views_are_those_by_the_kernels(device: str, normals: bool) -> None:
    scene = ball(normals)
    renderer = TorchRenderer(scene, device)
    for camera in scene.views(5, (96, 64)):
        wanted = splat(scene, camera).render(scene.colours, scene.background)
        found = renderer.view(camera)
        assert found.device.type == device
        np.testing.assert_allclose(found.cpu().numpy(), wanted, atol=2e-3)


def test_a_camera_that_sees_nothing_shows_the_background() -> None:
    scene = ball()
    away = scene.views(1, (32, 24))[0]
    empty = Scene(scene.points[:1] + 100, scene.colours[:1], scene.radii[:1], background=(0.2, 0.4, 0.6))
    found = TorchRenderer(empty, "cpu").view(away)
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(np.float32([0.2, 0.4, 0.6]), (24, 32, 3)))


@pytest.mark.parametrize("device", ["nowhere", "cuda:63"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    with pytest.raises(BadSetting, match=f"device: '{device}'.*accepted"):
        TorchRenderer(ball(), device)

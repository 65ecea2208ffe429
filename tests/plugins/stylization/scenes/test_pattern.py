"""A pattern's charts show what they are painted with, stylized scenes agree with themselves, and prompts help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fairlead_stylization.errors import BadPicture, BadSetting
from fairlead_stylization.quality.similarity import high_frequency_energy, low_frequencies
from fairlead_stylization.scenes.agreement import CONTENT, FREE, HELD, Held, agreeing
from fairlead_stylization.scenes.camera import looking_at
from fairlead_stylization.scenes.consistency import consistency, warp, warped_error
from fairlead_stylization.scenes.export import rendered
from fairlead_stylization.scenes.painting import put_on
from fairlead_stylization.scenes.pattern import Pattern, fit_pattern, spread_inwards, wide
from fairlead_stylization.scenes.scene import Scene
from fairlead_stylization.scenes.splatting import splat
from fairlead_stylization.scenes.stylizing import DETAIL, LOOKED_AT, between_charts, blurred, stylize_scene


@pytest.fixture(scope="module")
def ball() -> Scene:
    """A ball with a smooth picture on it."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((6000, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    colours = 0.5 + 0.4 * np.sin(points @ rng.standard_normal((3, 3)).astype(np.float32) * 3)
    return Scene(points, colours.astype(np.float32), np.full(6000, 0.035, np.float32), points)


def test_colours_come_back_from_the_atlas(ball: Scene) -> None:
    pattern = fit_pattern(ball, charts=8, size=64)
    assert pattern.unseen.mean() < 0.05
    np.testing.assert_allclose(pattern.weights.sum(axis=1), 1, atol=1e-5)
    again = pattern.colours(pattern.atlas(ball.colours, ball.background))
    seen = ~pattern.unseen
    assert np.sqrt(((again - ball.colours)[seen] ** 2).mean()) < 0.03


def test_a_style_of_the_whole_is_consistent_where_one_of_views_is_not(ball: Scene) -> None:
    def style(picture: np.ndarray) -> np.ndarray:
        """Colours by how they lie in the picture: what instance normalization does."""
        deviation = (picture - picture.mean(axis=(0, 1))) / (picture.std(axis=(0, 1)) + 1e-3)
        return np.clip(0.5 + 0.2 * deviation[..., ::-1], 0, 1).astype(np.float32)

    cameras = ball.views(12, (64, 64))
    splats = [splat(ball, camera) for camera in cameras]
    depths = [view.depth for view in splats]
    baked = stylize_scene(ball, style, pattern=fit_pattern(ball, charts=8, size=64))
    plain = [view.render(ball.colours) for view in splats]
    ours = [view.render(baked.scene.colours) for view in splats]
    each = [style(view) for view in plain]
    assert consistency(ours, cameras, depths, 1) < 0.7 * consistency(each, cameras, depths, 1)
    assert np.abs(baked.scene.colours - ball.colours).mean() > 0.05


def test_strength_goes_from_the_scene_to_the_style(ball: Scene) -> None:
    pattern = fit_pattern(ball, charts=2, size=32)
    kept = stylize_scene(ball, lambda picture: 1 - picture, pattern=pattern, strength=0.0)
    np.testing.assert_array_equal(kept.scene.colours, ball.colours)
    with pytest.raises(BadPicture, match="stylized atlas"):
        stylize_scene(ball, lambda picture: picture[:4], pattern=pattern)


def test_equal_views_agree_and_unequal_ones_do_not(ball: Scene) -> None:
    camera = ball.views(1, (48, 48))[0]
    view = splat(ball, camera)
    shown = view.render(ball.colours)
    pair = (camera, camera), (view.depth, view.depth)
    assert warped_error(shown, shown, *pair) == pytest.approx(0, abs=1e-5)
    assert warped_error(shown, shown + 0.1, *pair) == pytest.approx(0.1, rel=1e-3)
    empty = np.full((48, 48), np.inf, np.float32)
    assert np.isnan(warped_error(shown, shown, pair[0], (empty, empty)))


def test_unknown_pixels_take_the_colours_around() -> None:
    picture = np.zeros((20, 20, 3), np.float32)
    picture[:, :10] = (1, 0, 0)
    known = np.zeros((20, 20), bool)
    known[:, :10] = True
    filled = spread_inwards(picture, known)
    np.testing.assert_allclose(filled, np.broadcast_to(np.float32([1, 0, 0]), filled.shape), atol=1e-5)
    np.testing.assert_array_equal(spread_inwards(picture, np.zeros((20, 20), bool)), picture)


def test_holes_are_no_background() -> None:
    nothing = np.zeros((24, 24), bool)
    nothing[:, :8] = True
    nothing[12:15, 15:18] = True
    kept = wide(nothing, 2)
    assert kept[:, :8].all() and not kept[:, 8:].any()
    assert wide(np.ones((9, 9), bool), 2).all() and not wide(np.zeros((9, 9), bool), 2).any()


def test_views_of_a_surface_show_no_background_between_its_discs() -> None:
    side = np.linspace(-1, 1, 60, dtype=np.float32)
    points = np.stack([*(axis.ravel() for axis in np.meshgrid(side, side)), np.zeros(3600, np.float32)], axis=1)
    points = points[(np.abs(points[:, 0]) > 0.04) | (np.abs(points[:, 1]) > 0.04)]
    scene = Scene(points, np.zeros_like(points), np.full(len(points), 0.012, np.float32))
    eye, middle, up = np.float32([[0, 0, 3], [0, 0, 0], [0, 1, 0]])
    camera = looking_at(eye, middle, up, size=(64, 64))
    assert not splat(scene, camera.resized(128, 128)).seen[48:80, 48:80].all()
    view = rendered(scene, camera)
    assert view[24:40, 24:40].max() == 0 and view[0, 0].min() == 1


def strokes(picture: np.ndarray, amount: float = 2.0) -> np.ndarray:
    """A stylizer that draws fine strokes, as many on any picture."""
    drawn = blurred(np.random.default_rng(2).random(picture.shape).astype(np.float32), 0.8)
    return np.clip(picture + np.float32(amount) * (drawn - 0.5), 0, 1).astype(np.float32)


def detail_of_views(scene: Scene, stylize: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean high-frequency energy of ten views, stylized as pictures."""
    found = []
    for view in (splat(scene, camera) for camera in scene.views(10, (64, 64))):
        picture = view.render(scene.colours, scene.background)
        found.append(high_frequency_energy(np.where(view.seen[..., None], stylize(picture), picture)))
    return float(np.mean(found))


def test_views_between_charts_have_the_detail_of_a_stylized_picture(ball: Scene) -> None:
    pattern = fit_pattern(ball, charts=3, size=64)
    made = stylize_scene(ball, strokes, pattern=pattern).scene
    assert 0.92 < detail_of_views(made, lambda view: view) / (DETAIL * detail_of_views(ball, strokes)) < 1.03
    np.testing.assert_array_equal(made.colours, stylize_scene(ball, strokes, pattern=pattern).scene.colours)


def test_views_have_no_more_detail_than_a_stylizer_draws_on_them(ball: Scene) -> None:
    def on_charts_more(picture: np.ndarray) -> np.ndarray:
        return strokes(picture, 2.0 if len(picture) > 64 else 1.5)

    made = stylize_scene(ball, on_charts_more, pattern=fit_pattern(ball, charts=4, size=64)).scene
    wanted = detail_of_views(ball, on_charts_more)
    assert 0.92 < detail_of_views(made, lambda view: view) / (DETAIL * wanted) < 1.03


def test_a_style_without_detail_leaves_none(ball: Scene) -> None:
    pattern = fit_pattern(ball, charts=4, size=64)
    made = stylize_scene(ball, lambda picture: np.full_like(picture, 0.25), pattern=pattern)
    np.testing.assert_allclose(made.scene.colours[~made.pattern.unseen], 0.25, atol=1e-5)


def fine(view: np.ndarray) -> np.ndarray:
    return np.square(view - low_frequencies(view))


def noisy(ball: Scene) -> tuple[Pattern, np.ndarray]:
    """Charts of a ball, and its discs' colours once single pixels are painted on them."""
    pattern = fit_pattern(ball, charts=4, size=64)
    noise = np.random.default_rng(2).random((pattern.grid[1] * 64, pattern.grid[0] * 64, 3)).astype(np.float32)
    return pattern, pattern.colours(0.3 + 0.4 * blurred(noise, 0.6))


def test_views_that_were_not_looked_at_agree_as_the_plain_scenes_do_with_most_of_the_detail(ball: Scene) -> None:
    pattern, before = noisy(ball)
    after = agreeing(pattern, ball, before)
    cameras = ball.views(17, (64, 64))
    splats = [splat(ball, camera) for camera in cameras]
    depths = [view.depth for view in splats]
    plain, first, last = ([view.render(colours) for view in splats] for colours in (ball.colours, before, after))
    for apart in (1, 4):
        wrong = [consistency(views, cameras, depths, apart) for views in (plain, first, last)]
        assert wrong[1] > 1.5 * wrong[0]
        assert wrong[2] < 1.1 * wrong[0]
    detail = [np.mean([fine(view).mean() for view in views]) for views in (first, last)]
    assert detail[1] > 0.93 * detail[0]


class CoarseContrast:
    """How far a picture's contrast without its fine detail is from a wanted one, squared, in thousandths."""

    strength = 1.0

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted

    def loss(self, picture: np.ndarray) -> float:
        return self.slope(picture, picture, 0.0)[0]

    def slope(self, picture: np.ndarray, content: np.ndarray, hold: float) -> tuple[float, float, np.ndarray]:
        coarse = low_frequencies(picture)
        coarse = coarse - coarse.mean()
        contrast = float(np.sqrt(np.square(coarse).mean()))
        away = contrast - self.wanted
        slope = 2e6 * away / contrast / coarse.size * low_frequencies(coarse)
        apart = low_frequencies(low_frequencies(picture - content))
        lost = float(np.square(apart).mean())
        slope = slope + hold * 2 / apart.size * low_frequencies(low_frequencies(apart))
        return 1e6 * away**2, lost, slope.astype(np.float32)

    def refined(self, picture: np.ndarray) -> np.ndarray:
        return picture


def test_views_that_come_to_agree_keep_the_style_that_is_held(ball: Scene) -> None:
    pattern, before = noisy(ball)
    cameras = ball.views(17, (64, 64))
    splats = [splat(ball, camera) for camera in cameras]
    depths = [view.depth for view in splats]
    contrast = CoarseContrast(0.0)
    drawn = [np.clip(view.render(before), 0, 1) for view in splats]
    contrast.wanted = float(np.mean([np.sqrt(contrast.loss(view) / 1e6) for view in drawn]))
    most = 1.1 * float(np.mean([contrast.loss(view) for view in drawn]))
    free, kept = agreeing(pattern, ball, before), agreeing(pattern, ball, before, Held(contrast, most, 0.0))
    views = [[view.render(colours) for view in splats] for colours in (ball.colours, before, free, kept)]
    losses = [float(np.mean([contrast.loss(view) for view in each])) for each in views[2:]]
    assert losses[0] > 1.3 * most
    assert losses[1] < 1.1 * most
    for apart in (1, 4):
        plain, *_, after = (consistency(each, cameras, depths, apart) for each in views)
        assert after < 1.1 * plain
    assert np.mean([fine(view).mean() for view in views[3]]) > 0.91 * np.mean([fine(view).mean() for view in views[1]])


def test_views_that_come_to_agree_keep_the_scene_that_is_held(ball: Scene) -> None:
    pattern, before = noisy(ball)
    striped = np.where(np.sin(9 * ball.points[:, :1]) > 0, np.float32(0.25), np.float32(-0.25))
    scene, before = ball.with_colours(0.5 + 0.5 * striped.repeat(3, 1)), np.clip(before + striped, 0, 1)
    views = [splat(scene, camera) for camera in scene.views(17, (64, 64))]
    plain, drawn = ([np.clip(view.render(colours), 0, 1) for view in views] for colours in (scene.colours, before))
    slope = CoarseContrast(0.0)
    free = agreeing(pattern, scene, before)
    kept = agreeing(pattern, scene, before, Held.of(slope, drawn, plain))

    def lost(colours: np.ndarray) -> float:
        pairs = zip(views, plain, strict=True)
        return float(np.mean([slope.slope(view.render(colours), seen, 0.0)[1] for view, seen in pairs]))

    assert lost(kept) < 1.15 * lost(before)
    assert lost(kept) < lost(free)
    changed = kept - before
    assert 0.05 < np.abs(changed).max() <= HELD.most + 1e-6
    assert np.abs(changed - changed.mean(axis=1, keepdims=True)).max() < HELD.tint + 0.02


def test_losses_are_held_at_what_a_stylizer_draws() -> None:
    rng = np.random.default_rng(0)
    plain, drawn = ([rng.random((32, 32, 3)).astype(np.float32) for _ in range(3)] for _ in range(2))
    slope = CoarseContrast(0.05)
    held = Held.of(slope, drawn, plain)
    style, content = np.mean([slope.slope(*pair, 0.0)[:2] for pair in zip(drawn, plain, strict=True)], axis=0)
    assert held.most == pytest.approx(style + held.hold * content)
    assert held.hold * content == pytest.approx(CONTENT * style)


def test_no_disc_goes_far_from_what_was_painted(ball: Scene) -> None:
    pattern, noise = noisy(ball)
    edges = np.float32(0.1) + np.float32(0.8) * (np.sin(25 * ball.points) > 0)
    before = np.where(ball.points[:, 1:2] < 0, noise, edges).astype(np.float32)
    changed = np.abs(agreeing(pattern, ball, before) - before)
    assert 0.05 < changed.max() <= FREE.most + 1e-6


def test_views_that_agree_as_the_scene_does_keep_every_stroke(ball: Scene) -> None:
    rng = np.random.default_rng(4)
    busy = ball.with_colours(rng.random(ball.colours.shape).astype(np.float32))
    pattern = fit_pattern(busy, charts=4, size=64)
    calm = (0.4 + 0.2 * ball.colours).astype(np.float32)
    np.testing.assert_array_equal(agreeing(pattern, busy, calm), calm)


def test_charts_cameras_see_what_was_painted(ball: Scene) -> None:
    pattern = fit_pattern(ball, charts=4, size=64)
    noise = np.random.default_rng(5).random((pattern.grid[1] * 64, pattern.grid[0] * 64, 3)).astype(np.float32)
    atlas = 0.2 + 0.6 * blurred(noise, 0.8)
    charts = pattern.charts_of(atlas, ball.background)

    def missed(colours: np.ndarray) -> float:
        views = [view.render(colours, ball.background) for view in pattern.splats]
        return float(np.mean([np.square(view - chart).mean() for view, chart in zip(views, charts, strict=True)]))

    assert missed(put_on(pattern, atlas, ball.background)) < 0.85 * missed(pattern.colours(atlas))


def test_a_warp_gives_back_by_the_transpose_of_what_it_takes(ball: Scene) -> None:
    cameras = ball.views(16, (48, 48))[:2]
    between = warp((cameras[0], cameras[1]), tuple(splat(ball, camera).depth for camera in cameras))
    rng = np.random.default_rng(3)
    view = rng.random((48 * 48, 3)).astype(np.float32)
    values = rng.random((len(between.there), 3)).astype(np.float32)
    back = np.zeros_like(view)
    between.give_back(values, back)
    assert len(values) > 100
    assert (between.taken(view) * values).sum() == pytest.approx((view * back).sum(), rel=1e-4)


def test_views_that_are_looked_at_are_no_charts(ball: Scene) -> None:
    looked_at = between_charts(ball, (32, 32))
    charts = ball.views(12, (32, 32))
    apart = [[np.linalg.norm(a.position - b.position) for b in charts] for a in looked_at]
    assert len(looked_at) == LOOKED_AT and np.min(apart) > 0.1 * ball.radius
    posed = replace(ball, cameras=tuple(ball.views(5, (32, 32))[:3]))
    path = between_charts(posed, (32, 32))
    apart = [[np.linalg.norm(a.position - b.position) for b in posed.cameras] for a in path]
    assert len(path) == LOOKED_AT and np.min(apart) > 0.05 * ball.radius


def test_charts_out_of_range_are_refused(ball: Scene) -> None:
    with pytest.raises(BadSetting, match="charts 0"):
        fit_pattern(ball, charts=0)


def test_a_prompt_gives_views_more_of_the_style(ball: Scene) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: prompts are not tested")
    from fairlead_stylization.scenes.prompt import PatternMap, PromptFitting, fit_prompt

    torch.manual_seed(0)
    mixing = torch.nn.Conv2d(3, 3, 1).requires_grad_(False)
    layer = torch.nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False)

    def features(pictures: torch.Tensor) -> list[torch.Tensor]:
        return [torch.relu(layer(pictures))]

    before = {name: value.clone() for name, value in mixing.state_dict().items()}
    pattern = fit_pattern(ball, charts=3, size=32)
    views = [splat(ball, camera) for camera in ball.views(4, (32, 32))]
    atlas = torch.from_numpy(pattern.atlas(ball.colours, ball.background)).permute(2, 0, 1)[None]
    maps = PatternMap(pattern, ball.background)
    np.testing.assert_allclose(
        maps.view(maps.colours(atlas), views[0])[0].permute(1, 2, 0).numpy(),
        views[0].render(pattern.colours(atlas[0].permute(1, 2, 0).numpy())), atol=1e-4,
    )  # fmt: skip
    losses: list[float] = []
    style = 0.9 * torch.rand(1, 3, 32, 32) ** 3
    fitting = PromptFitting(steps=10, views=4, cell=4, bound=0.2, content=0.0)
    prompt = fit_prompt(ball, pattern, views, lambda x: torch.sigmoid(3 * mixing(x)), features, style, fitting,
                        lambda step, loss: losses.append(loss))  # fmt: skip
    assert losses[-1] < 0.9 * losses[0] and np.abs(prompt).max() <= 0.2
    assert all(torch.equal(value, before[name]) for name, value in mixing.state_dict().items())
    with pytest.raises(BadSetting, match="views: none"):
        fit_prompt(ball, pattern, [], lambda x: x, features, style)

"""Colours of a content become those of a style, or stay."""

from __future__ import annotations

import numpy as np

from fairlead_stylization.transform.colours import Colours, colour_map, recoloured, with_colours_of


def picture(seed: int, scale: float = 0.2) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixed = random.normal(0, scale, (40, 30, 3)) @ (np.eye(3) + random.normal(0, 0.3, (3, 3)))
    return (mixed + random.random(3)).astype(np.float32)


def test_the_map_gives_the_styles_mean_and_covariance() -> None:
    content, style = picture(0), picture(1)
    got = Colours.of(recoloured(content, colour_map(Colours.of(content), Colours.of(style))))
    np.testing.assert_allclose(got.mean, Colours.of(style).mean, atol=1e-4)
    np.testing.assert_allclose(got.covariance, Colours.of(style).covariance, atol=3e-3)


def test_no_strength_and_the_own_colours_change_nothing() -> None:
    content = picture(2)
    for mapping in (
        colour_map(Colours.of(content), Colours.of(picture(3)), 0.0),
        colour_map(Colours.of(content), Colours.of(content)),
    ):
        np.testing.assert_allclose(recoloured(content, mapping), content, atol=1e-4)


def test_a_grey_pictures_noise_is_not_blown_up() -> None:
    grey = np.repeat(np.linspace(0, 1, 1200, dtype=np.float32).reshape(40, 30, 1), 3, 2)
    noise = np.random.default_rng(4).normal(0, 0.002, grey.shape).astype(np.float32)
    mapping = colour_map(Colours.of(grey), Colours.of(picture(5)))
    assert np.abs(recoloured(grey + noise, mapping) - recoloured(grey, mapping)).max() < 0.3


def test_kept_colours_are_the_contents_and_the_luminance_is_not() -> None:
    random = np.random.default_rng(6)
    content = random.uniform(0.3, 0.7, (8, 8, 3)).astype(np.float32)
    stylized = random.uniform(0.4, 0.6, (8, 8, 3)).astype(np.float32)
    got = with_colours_of(stylized, content)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(got @ weights, stylized @ weights, atol=1e-5)
    np.testing.assert_allclose(got[..., 0] - got[..., 2], content[..., 0] - content[..., 2], atol=1e-5)

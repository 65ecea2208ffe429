"""What is computed before the network has slopes: the map of colours, and what a style lends."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: slopes are not tested")

from fairlead_kernels.quilting import quilt  # noqa: E402
from fairlead_stylization.diversity.generators.lending import SlopingDetails, _Lent, sloping_maps  # noqa: E402
from fairlead_stylization.networks.student import colours_of, lent_by, maps_to, recoloured  # noqa: E402
from fairlead_stylization.transform.details import CELL, FADE, HOP, Details  # noqa: E402


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Pictures [n, 3, h, w] with details of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    scales = [torch.rand(*shape[:2], shape[2] // step, shape[3] // step, generator=generator) for step in (1, 4, 8)]
    grown = [torch.nn.functional.interpolate(part, size=shape[2:], mode="bilinear") for part in scales]
    return torch.stack(grown).mean(0)


def clouds(side: int, seed: int) -> torch.Tensor:
    """A picture [1, 3, side, side] of colours that change from tile to tile, with grain."""
    coarse = torch.rand(1, 3, side // 12, side // 12, generator=torch.Generator().manual_seed(seed))
    grown = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return 0.8 * grown + 0.2 * noise(1, 3, side, side, seed=seed)


def test_maps_are_those_of_a_stylizer() -> None:
    contents, colours, strength = noise(2, 3, 40, 48), colours_of(noise(1, 3, 56, 40, seed=1)[0] ** 2), torch.ones(2)
    for share in (strength, 0.4 * strength):
        np.testing.assert_allclose(
            sloping_maps(colours, contents, share).numpy(), maps_to(colours, contents, share).numpy(), atol=2e-4
        )


def test_what_the_map_takes_away_has_no_slope() -> None:
    contents, colours = noise(1, 3, 40, 48).requires_grad_(), colours_of(noise(1, 3, 56, 40, seed=1)[0] ** 2)
    wanted = noise(1, 3, 40, 48, seed=2)

    def shifted(maps: torch.Tensor) -> torch.Tensor:
        """The slope of a distance to something along a shift of all colours, [3]."""
        value = (recoloured(contents, maps) - wanted).square().sum()
        return torch.autograd.grad(value, contents)[0].sum((0, 2, 3)).abs()

    kept = shifted(sloping_maps(colours, contents, torch.ones(1)))
    assert kept.max() < 1e-3 * shifted(maps_to(colours, contents, torch.ones(1))).max()


@pytest.mark.parametrize(("size", "style"), [((88, 96), (64, 128)), ((50, 61), (40, 40))])
def test_details_are_those_of_a_stylizer(size: tuple[int, int], style: tuple[int, int]) -> None:
    contents, look = noise(2, 3, *size), noise(1, 3, *style, seed=1)
    details = Details.of(look[0].permute(1, 2, 0).numpy())
    maps = maps_to(colours_of(look[0]), contents, torch.ones(2))
    expected = lent_by([details] * 2, contents, maps)
    for some in (contents, contents.clone().requires_grad_()):
        np.testing.assert_allclose(SlopingDetails(details).lent(some, maps).detach().numpy(), expected, atol=1e-6)


def test_slopes_lead_to_details_that_are_wanted() -> None:
    details = Details.of(clouds(96, seed=1)[0].permute(1, 2, 0).numpy())
    lending, maps = SlopingDetails(details), torch.eye(3, 4)[None]
    with torch.no_grad():
        wanted = lending.lent(clouds(72, seed=3), maps)

    def left(contents: torch.Tensor) -> torch.Tensor:
        return (lending.lent(contents, maps) - wanted).square().mean()

    start = contents = clouds(72, seed=2)
    for _ in range(30):
        contents = contents.detach().requires_grad_()
        (slope,) = torch.autograd.grad(left(contents), contents)
        contents = (contents - 0.01 * slope.sign()).clamp(start - 0.15, start + 0.15)
    by_chance = start + 0.15 * torch.randn(start.shape, generator=torch.Generator().manual_seed(5)).sign()
    assert left(contents) < 0.75 * left(start)
    assert left(by_chance) > 0.9 * left(start)


def test_slopes_of_shares_are_what_quilting_lays() -> None:
    """A tile's slope towards a place is by how much the sum over what is lent grows where it takes that place."""
    look = noise(1, 3, 64, 64, seed=1)
    details = Details.of(look[0].permute(1, 2, 0).numpy())
    lending, weight = SlopingDetails(details), noise(1, 3, 48, 48, seed=4)
    shares = torch.zeros(1, 4, 64).requires_grad_()
    (slope,) = torch.autograd.grad(
        (_Lent.apply(shares, torch.zeros(1, 3, 48, 48), lending._blocks) * weight).sum(), shares
    )
    chosen = np.array([[3, 17], [40, 63]])
    tops, lefts = (part.astype(np.int32) * CELL + CELL // 2 for part in np.divmod(chosen, 8))
    laid = quilt(details.fine, tops, lefts, HOP * CELL, FADE, (48, 48))
    expected = float((torch.from_numpy(laid).permute(2, 0, 1) * weight[0]).sum())
    found = float(slope[0, torch.arange(4), torch.from_numpy(chosen.reshape(-1))].sum())
    assert found == pytest.approx(expected, rel=1e-3)

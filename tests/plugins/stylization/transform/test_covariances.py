"""Covariances: the least map reaches what is wanted, and both ways to take roots agree."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: transforms of features are not tested")

from fairlead_stylization.transform import covariances  # noqa: E402
from fairlead_stylization.transform.covariances import apart, least_map, matched, moments  # noqa: E402


def features(seed: int, channels: int = 6) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    mix = torch.randn(2, channels, channels, generator=made)
    plain = torch.randn(2, channels, 400, generator=made)
    return (mix @ plain + torch.randn(2, channels, 1, generator=made)).reshape(2, channels, 20, 20)


def test_matched_features_have_the_wanted_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariances, "RIDGE", 1e-6)
    content, style = features(0), features(1)
    got = moments(matched(content, moments(content), moments(style), torch.ones(2)))
    assert torch.allclose(got, moments(style), atol=0.02 * float(moments(style).abs().max()))


def test_nothing_changes_at_no_share_and_where_moments_are_the_same() -> None:
    content, style = features(2), features(3)
    own = moments(content)
    assert torch.allclose(matched(content, own, moments(style), torch.zeros(2)), content, atol=1e-4)
    assert torch.allclose(matched(content, own, own, torch.ones(2)), content, atol=5e-3)


def test_the_map_is_symmetric_and_so_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = least_map(apart(moments(features(4)))[1], apart(moments(features(5)))[1])
    assert torch.allclose(matrix, matrix.mT, atol=1e-3 * float(matrix.abs().max()))
    assert (torch.linalg.eigvalsh(matrix) > 0).all()


def test_iterated_roots_are_those_by_eigenvectors() -> None:
    matrix = covariances._ridged(apart(moments(features(6, 24)))[1])
    for one, other in zip(covariances._Roots.apply(matrix), covariances._iterated(matrix), strict=True):
        assert torch.allclose(one, other, atol=2e-3 * float(one.abs().max()))


def test_iterated_maps_of_features_that_hardly_vary_in_most_directions_are_those_by_eigenvectors() -> None:
    made = torch.Generator().manual_seed(10)
    turns = torch.linalg.qr(torch.randn(2, 48, 48, generator=made))[0]
    own, wanted = (torch.cat([torch.full((few,), 1.0), torch.full((48 - few,), 1e-6)]) for few in (2, 6))
    own, wanted = (turn * sizes @ turn.mT for turn, sizes in zip(turns, (own, wanted), strict=True))
    whole = least_map(own[None], wanted[None])
    root, inverse = covariances._iterated(covariances._ridged(own[None]))
    iterated = inverse @ covariances._iterated(root @ covariances._ridged(wanted[None]) @ root)[0] @ inverse
    assert torch.allclose(iterated, whole, atol=2e-3 * float(whole.abs().max()))


def test_slopes_through_roots_are_true() -> None:
    matrix = torch.diag_embed(torch.rand(2, 4, generator=torch.Generator().manual_seed(7)).double() + 0.5)
    lower = torch.tril(torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(8)).double(), -1) * 0.1

    def symmetric(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return covariances._Roots.apply(values @ values.mT)

    assert torch.autograd.gradcheck(symmetric, ((matrix + lower).requires_grad_(),))


def test_slopes_through_the_map_are_true_where_features_hardly_vary_in_most_directions() -> None:
    made = torch.Generator().manual_seed(9)
    turn = torch.linalg.qr(torch.randn(2, 64, 64, generator=made))[0]
    sizes = torch.cat([torch.ones(1), torch.full((63,), 1e-6)])
    pair = [(part * sizes) @ part.mT for part in (turn[0], turn[0] + 0.01 * turn[1])]
    slopes = []
    for kind in (torch.float32, torch.float64):
        one, other = (part.to(kind).detach()[None].requires_grad_() for part in pair)
        (least_map(one, other) ** 2).sum().backward()
        slopes.append(one.grad)
    assert torch.allclose(slopes[0].double(), slopes[1], atol=0.02 * float(slopes[1].abs().max()))

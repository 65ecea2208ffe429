"""Losses are nothing where nothing differs, grow with what they measure, and take the paper's own layers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: losses are not tested")

from fairlead_stylization.losses.patches import attention_content_loss, patch_style_loss, self_similarity  # noqa: E402
from fairlead_stylization.losses.statistics import content_loss, identity_loss, moments, style_loss  # noqa: E402
from fairlead_stylization.networks.vgg import Vgg19  # noqa: E402
from fairlead_stylization.training.objective import LossWeights, Objective  # noqa: E402

PAPER_STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_style_loss_sees_statistics_and_not_places() -> None:
    one = {"a": random(2, 3, 8, 8)}
    shuffled = {"a": one["a"].flip(3).roll(2, 2)}
    assert torch.allclose(style_loss(one, shuffled, ["a"]), torch.zeros(2), atol=1e-6)
    assert (content_loss(one, shuffled, ["a"]) > 0.01).all()
    shifted = {"a": one["a"] + 0.5}
    assert torch.allclose(style_loss(shifted, one, ["a"]), torch.full((2,), 0.25), atol=1e-3)


def test_moments_in_half_precision_are_those_in_full_and_have_their_slopes() -> None:
    full = (random(2, 6, 12, 10) * 3).requires_grad_()
    half = full.detach().to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    for exact, fast in zip(moments(full), moments(half), strict=True):
        assert torch.allclose(exact, fast, rtol=0.03, atol=0.03)
    for features in (full, half):
        mean, deviation = moments(features)
        (mean.square().sum() + (3 * deviation).sum()).backward()
    assert torch.allclose(full.grad, half.grad.float(), atol=3e-3)


def test_patches_that_are_the_styles_cost_nothing_and_others_do() -> None:
    style = random(1, 4, 15, 15)
    assert float(patch_style_loss(style, style)) < 1e-6
    assert float(patch_style_loss(style * 2 + 1, style)) > 0.1


def test_self_similarity_has_rows_that_sum_to_one_without_the_diagonal() -> None:
    found = self_similarity(random(1, 6, 4, 5))
    assert found.shape == (1, 20, 19)
    assert torch.allclose(found.sum(2), torch.ones(1, 20), atol=1e-5)
    flat = torch.nn.functional.layer_norm(random(1, 6, 20), (20,), eps=1e-5)
    products = (flat.transpose(1, 2) @ flat)[0] / 100
    expected = products[3][[0, 1, 2, *range(4, 20)]].softmax(0)
    assert torch.allclose(found[0, 3], expected, atol=1e-3)


def test_attention_does_not_see_a_channels_scale() -> None:
    content = random(1, 6, 6, 6)
    assert float(attention_content_loss(content * 3 + 1, content)) < 1e-8
    assert float(attention_content_loss(content.flip(3), content)) > 1e-8


def test_identity_weighs_the_picture_fifty_times() -> None:
    picture, features = random(1, 3, 8, 8), {"a": random(1, 2, 4, 4)}
    assert float(identity_loss((picture + 0.1, features), (picture, features))) == pytest.approx(0.5, rel=1e-3)


def test_the_papers_layers_are_taken_where_the_network_reaches_them() -> None:
    torch.manual_seed(0)
    network = Vgg19("relu5_1", widths=(4, 6, 8, 10, 10)).requires_grad_(False)
    deepest = ("relu4_1", "relu5_1")
    objective = Objective(network, None, LossWeights(), deepest, PAPER_STYLE, deepest)
    content, style = random(2, 3, 96, 96), random(2, 3, 96, 96, seed=1)
    got = content.clone().requires_grad_()
    targets = objective.targets(content, style)
    assert set(targets.near_style) == set(PAPER_STYLE)
    terms = objective.terms(got, targets, torch.ones(2), torch.zeros(2))
    assert float(terms["content"]) == pytest.approx(0, abs=1e-8)
    assert float(terms["style"]) > 0
    assert float(terms["identity"]) == 0
    objective.total(terms).backward()
    assert float(got.grad.abs().sum()) > 0

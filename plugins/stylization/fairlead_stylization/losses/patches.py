"""Losses of structure: statistics of best matching patches, and which places of a picture resemble which."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..transform.torch_form import PATCH, LocalStyle, normalized

EPSILON = 1e-5


def patch_style_loss(got: Tensor, style: Tensor, patch: int = PATCH) -> Tensor:
    """Difference of means and deviations between tiles of `got` and the style patches that match them best: [B].

    Matching is that of the local stage (section 3.2); the statistics are of the activations themselves (section 3.3).

    Args:
        got, style: activations [B, C, H, W] of the result and of the style.
        patch: side of a patch.
    """
    got, style = got.float(), style.float()
    local = LocalStyle.of(style, patch=patch)
    tiles = functional.unfold(normalized(got).detach(), patch, stride=patch).transpose(1, 2)
    best = (tiles @ local.filters.transpose(1, 2)).argmax(2)[:, :, None].expand(-1, -1, got.shape[1])
    losses = []
    for ours, theirs in zip(_patch_moments(got, patch, patch), _patch_moments(style, patch, 1), strict=True):
        losses.append((ours - theirs.gather(1, best)).square().flatten(1).mean(1))
    return losses[0] + losses[1]


def _patch_moments(features: Tensor, patch: int, stride: int) -> tuple[Tensor, Tensor]:
    """Means and deviations of patches, [B, N, C] each."""
    mean = functional.avg_pool2d(features, patch, stride)
    square = functional.avg_pool2d(features.square(), patch, stride)
    deviation = ((square - mean.square()).clamp_min(0) + EPSILON).sqrt()
    return mean.flatten(2).transpose(1, 2), deviation.flatten(2).transpose(1, 2)


def self_similarity(features: Tensor, temperature: float = 100.0) -> Tensor:
    """Rows of softmax(F^T F / temperature) of normalized activations without the diagonal: [B, N, N - 1]."""
    flat = normalized(features.float()).flatten(2)
    products = flat.transpose(1, 2) @ flat
    batch, places, _ = products.shape
    # Dropping the first element and reading rows of N + 1 puts the diagonal into the last column.
    rest = products.flatten(1)[:, 1:].reshape(batch, places - 1, places + 1)[:, :, :-1]
    return (rest.reshape(batch, places, places - 1) / temperature).softmax(2)


def attention_content_loss(got: Tensor, content: Tensor) -> Tensor:
    """Mean square difference of self-similarities: [B]."""
    return (self_similarity(got) - self_similarity(content)).square().flatten(1).mean(1)

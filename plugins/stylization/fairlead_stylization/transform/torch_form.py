"""The two stages in torch, for training and for export: same results as the NumPy form.

The local stage of the paper (ACM MM 2023, section 3.2) cuts the content into tiles, finds for each the style patch that
correlates best, and gives the tile that patch's mean and standard deviation. Here all correlations are one matrix
product, and the scale and shift of neighbouring tiles are interpolated between the tiles' centres, so that no seams
show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PATCH = 5
HOP = 3
EPSILON = 1e-5

#: Deviations of flat tiles are not divided by: in normalized features this is small.
FLOOR = 0.1


@dataclass
class LocalStyle:
    """Patches of styles.

    Attributes:
        filters: [B, N, D], the patches of normalized features, of unit length.
        means, deviations: [B, N, C], of each patch of the normalized features.
        matching: channels that are compared, 0 for all.
        weights: [B], where the patches are those of B styles that are mixed for one content; None: one style a content.
    """

    filters: Tensor
    means: Tensor
    deviations: Tensor
    matching: int = 0
    weights: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, matching: int = 0, patch: int = PATCH) -> LocalStyle:
        """Patches of a style's features [B, C, H, W], one at every place."""
        normal = normalized(features)
        filters = functional.unfold(normal[:, : matching or None], patch).transpose(1, 2)
        means = functional.avg_pool2d(normal, patch, 1)
        squares = functional.avg_pool2d(normal.square(), patch, 1)
        deviations = (squares - means.square()).clamp_min(0).add(EPSILON).sqrt()
        filters = filters / filters.norm(dim=2, keepdim=True).clamp_min(EPSILON)
        return cls(filters, means.flatten(2).transpose(1, 2), deviations.flatten(2).transpose(1, 2), matching)


def normalized(features: Tensor) -> Tensor:
    """Zero mean, unit deviation per channel."""
    mean = features.mean((2, 3), keepdim=True)
    deviation = ((features - mean).square().mean((2, 3), keepdim=True) + EPSILON).sqrt()
    return (features - mean) / deviation


def affine(features: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """One scale and one shift a channel, each [B, C, 1, 1], of features [B, C, H, W].

    An exported graph, whose batch is 1, does it as a convolution of one weight a channel: one pass over the features,
    with the activation that follows in it, where a product and a sum are three.
    """
    if not torch.onnx.is_in_onnx_export():
        return features * factor + shift
    return functional.conv2d(features, factor.transpose(0, 1), shift.flatten(), groups=features.shape[1])


def local_coefficients(normal: Tensor, local: LocalStyle, patch: int, hop: int) -> tuple[Tensor, Tensor]:
    """Scale and shift of each tile, [B, C, h, w]: what gives the tile its best patch's statistics."""
    tiles = functional.unfold(normal[:, : local.matching or None], patch, stride=hop).transpose(1, 2)
    best = (tiles @ local.filters.transpose(1, 2)).argmax(2)[:, :, None]
    means = functional.avg_pool2d(normal, patch, hop)
    squares = functional.avg_pool2d(normal.square(), patch, hop)
    deviations = (squares - means.square()).clamp_min(0).add(EPSILON).sqrt().clamp_min(FLOOR)
    scale = _chosen(local.deviations, best, means) / deviations
    shift = _chosen(local.means, best, means) - scale * means
    if local.weights is None:
        return scale, shift
    weights = local.weights[:, None, None, None]
    return (scale * weights).sum(0, keepdim=True), (shift * weights).sum(0, keepdim=True)


def _chosen(values: Tensor, best: Tensor, like: Tensor) -> Tensor:
    """Values [B, N, C] of the chosen patches [B, T, 1], as a map of the tiles: [B, C, h, w]."""
    found = values.gather(1, best.expand(-1, -1, values.shape[2]))
    return found.transpose(1, 2).reshape(-1, *like.shape[1:])


def spread(coefficients: Tensor, height: int, width: int, patch: int, hop: int) -> Tensor:
    """Coefficients of tiles -> of pixels: interpolated between the tiles' centres, constant beyond the outer ones."""
    rows, columns = coefficients.shape[2:]
    grown = functional.interpolate(coefficients, scale_factor=float(hop), mode="bilinear", align_corners=False)
    # A tile's centre is at patch / 2 + hop * i; that of its block of the grown map at hop / 2 + hop * i.
    top = (patch - hop) // 2
    return functional.pad(grown, (top, width - top - columns * hop, top, height - top - rows * hop), mode="replicate")


def local_transform(normal: Tensor, local: LocalStyle, patch: int = PATCH, hop: int = HOP) -> Tensor:
    """Normalized content features -> with local statistics of the style's normalized features."""
    height, width = normal.shape[2:]
    if min(height, width) < patch:
        return normal
    scale, shift = local_coefficients(normal, local, patch, hop)
    return normal * spread(scale, height, width, patch, hop) + spread(shift, height, width, patch, hop)


def global_local_transform(features: Tensor, own: Tensor, style: Tensor, local: LocalStyle | None) -> Tensor:
    """TSSAT.

    Args:
        features: of the content, [B, C, H, W].
        own: their means, then deviations, [B, 2 C].
        style: those of the style's features, [B, 2 C].
        local: the style's patches; the global stage alone where None.
    """
    own_mean, own_deviation = own[:, :, None, None].chunk(2, 1)
    normal = affine(features, 1 / own_deviation, -own_mean / own_deviation)
    if local is not None:
        normal = local_transform(normal, local)
    mean, deviation = style[:, :, None, None].chunk(2, 1)
    return affine(normal, deviation, mean)

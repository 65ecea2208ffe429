"""Means and covariances of features, and the linear map from one's to another's that moves the least (torch).

The map is the Monge-Kantorovitch solution for normal distributions, A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 (Pitie and
Kokaram, CVMP 2007, for colours): features get the wanted covariance, as whitening and colouring (NeurIPS 2017) gives
it, but a content that already has it is left as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Added to a covariance, as a share of the mean variance: what directions without content are not amplified beyond.
RIDGE = 0.01
#: Newton-Schulz steps. Each makes small roots 1.5 times as large, and of a product of two covariances with ridges an
#: eigenvalue can be a millionth of its size: after 16 steps pictures were 0.05 away.
STEPS = 24


def moments(features: Tensor, step: int = 1) -> Tensor:
    """Mean and covariance, row after row, of each picture's features: [B, C, H, W] -> [B, C + C C], float32.

    Exported graphs, which are made for large pictures, look at every `step`-th row and column.
    """
    if torch.onnx.is_in_onnx_export():
        features = features[:, :, ::step, ::step]
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)
        mean = flat.mean(2)
        centred = flat - mean[:, :, None]
        covariance = centred @ centred.transpose(1, 2) / flat.shape[2]
    return torch.cat([mean, covariance.flatten(1)], 1)


def apart(pair: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C + C C] -> mean [B, C, 1], covariance [B, C, C]."""
    channels = round((int(pair.shape[1]) + 0.25) ** 0.5 - 0.5)
    return pair[:, :channels, None], pair[:, channels:].reshape(-1, channels, channels)


def matched(features: Tensor, own: Tensor, wanted: Tensor, share: Tensor) -> Tensor:
    """Features with other means and covariances.

    Args:
        features: [B, C, H, W], whose moments are `own`, [B, C + C C].
        wanted: [B, C + C C].
        share: [B], 0 (as they are) to 1 (as wanted).
    """
    with torch.autocast(features.device.type, enabled=False):
        (mean, covariance), (other, spread) = apart(own), apart(wanted)
        part = share[:, None, None]
        same = torch.eye(covariance.shape[1], device=features.device)
        matrix = same + part * (least_map(covariance, spread) - same)
        offset = mean + part * (other - mean) - matrix @ mean
        if torch.onnx.is_in_onnx_export():
            # A batch of one: as a convolution, so that runtimes keep features in their own layout.
            return functional.conv2d(features, matrix[0, :, :, None, None], offset.flatten())
        return (matrix @ features.float().flatten(2) + offset).reshape(features.shape)


def least_map(covariance: Tensor, wanted: Tensor) -> Tensor:
    """The symmetric map from one covariance to another, [B, C, C] each."""
    if torch.onnx.is_in_onnx_export():
        return _least_map(covariance, wanted)
    # The product's eigenvalues span the square of what a covariance's do: in single precision the smallest ones, and
    # with them the slopes, would be noise.
    return _least_map(covariance.double(), wanted.double()).float()


def _least_map(covariance: Tensor, wanted: Tensor) -> Tensor:
    root, inverse = roots(_ridged(covariance))
    return inverse @ roots(root @ _ridged(wanted) @ root)[0] @ inverse


def _ridged(covariance: Tensor) -> Tensor:
    same = torch.eye(covariance.shape[1], dtype=covariance.dtype, device=covariance.device)
    level = (covariance * same).sum((1, 2), keepdim=True) / covariance.shape[1]
    return covariance + same * (RIDGE * level + 1e-6)


def roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Square roots of positive matrices [B, C, C], and their inverses.

    By eigenvectors; in exported graphs, which have none, by the coupled Newton-Schulz iteration (Higham, 2008, 6.35).
    """
    return _iterated(matrix) if torch.onnx.is_in_onnx_export() else _Roots.apply(matrix)


def _iterated(matrix: Tensor) -> tuple[Tensor, Tensor]:
    size = matrix.square().sum((1, 2), keepdim=True).sqrt()
    same = torch.eye(matrix.shape[1], device=matrix.device)
    root, inverse = matrix / size, same.expand_as(matrix)
    for _ in range(STEPS):
        turn = 1.5 * same - 0.5 * (inverse @ root)
        root, inverse = root @ turn, turn @ inverse
    return root * size.sqrt(), inverse / size.sqrt()


class _Roots(torch.autograd.Function):
    """Roots by eigenvectors, whose slopes stay finite where eigenvalues meet: those of a Sylvester equation."""

    @staticmethod
    def forward(context: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        values, vectors = torch.linalg.eigh(matrix)
        sizes = values.clamp_min(1e-14).sqrt()
        context.save_for_backward(sizes, vectors)
        return (vectors * sizes[:, None]) @ vectors.mT, (vectors / sizes[:, None]) @ vectors.mT

    @staticmethod
    def backward(context: Any, slope: Tensor, inverse_slope: Tensor) -> Tensor:  # type: ignore[override]
        sizes, vectors = context.saved_tensors
        inverse = (vectors / sizes[:, None]) @ vectors.mT
        whole = slope - inverse @ inverse_slope @ inverse
        turned = vectors.mT @ (0.5 * (whole + whole.mT)) @ vectors
        return vectors @ (turned / (sizes[:, :, None] + sizes[:, None, :])) @ vectors.mT

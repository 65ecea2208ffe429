"""Decoders that mirror VGG-19, and transfer by AdaIN or TSSAT between (torch)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..transform.torch_form import LocalStyle, global_local_transform
from .student import statistics
from .vgg import WIDTHS, Vgg19, convolutions


def mirrored(last: str, widths: tuple[int, ...] = WIDTHS) -> Iterator[tuple[str, int, int]]:
    """(name, inputs, outputs) of a decoder's convolutions, from the deepest on."""
    for name, inputs, outputs in reversed(list(convolutions(last, widths))):
        yield name, outputs, inputs


class MirrorDecoder(nn.Module):
    """Features of `last` -> a picture: VGG-19 backwards, doubling where it pooled.

    Args:
        last: the activation, such as "relu4_1".
        widths: channels of the five blocks.
        rectified: the last convolution, too, ends with ReLU (as in the slim decoders).
    """

    def __init__(self, last: str = "relu4_1", widths: tuple[int, ...] = WIDTHS, rectified: bool = False) -> None:
        super().__init__()
        self.last, self.rectified = last, rectified
        self.layers = nn.ModuleDict(
            {name: nn.Conv2d(inputs, outputs, 3) for name, inputs, outputs in mirrored(last, widths)}
        )

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 3, H, W], not clipped."""
        for name, layer in self.layers.items():
            features = layer(functional.pad(features, (1, 1, 1, 1), mode="reflect"))
            if name != "1_1" or self.rectified:
                features = functional.relu(features)
            # Where the encoder pooled before a block's first convolution.
            if name.endswith("_1") and name != "1_1":
                features = functional.interpolate(features, scale_factor=2.0)
        return features


class TransferNetwork(nn.Module):
    """VGG-19, a transform of its deepest features, and the decoder: AdaIN (ICCV 2017) or TSSAT (ACM MM 2023).

    Args:
        encoder: to the decoder's activation.
        decoder: from there.
        local: TSSAT's second stage too.
    """

    def __init__(self, encoder: Vgg19, decoder: MirrorDecoder, local: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.local = encoder, decoder, local

    def forward(self, content: Tensor, style: Tensor, strength: float = 1.0) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1] -> pictures, not clipped."""
        layer = self.decoder.last
        features, other = self.encoder(content, {layer})[layer], self.encoder(style, {layer})[layer]
        patches = LocalStyle.of(other) if self.local else None
        stylized = global_local_transform(features, statistics(features), statistics(other), patches)
        return self.decoder(torch.lerp(features, stylized, strength))


def whitening_colouring(content: Tensor, style: Tensor) -> Tensor:
    """WCT (NeurIPS 2017): the style's covariance and means for the content's, features [C, H, W] of any two sizes."""
    flat, other = content.flatten(1), style.flatten(1)
    mean, other_mean = flat.mean(1, keepdim=True), other.mean(1, keepdim=True)
    white = _power(flat - mean, -0.5) @ (flat - mean)
    return (_power(other - other_mean, 0.5) @ white + other_mean).reshape(content.shape)


def _power(centred: Tensor, exponent: float) -> Tensor:
    """The covariance's power; directions of next to no variance are left out."""
    values, vectors = torch.linalg.eigh(centred @ centred.T / (centred.shape[1] - 1))
    kept = values > 1e-5
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T

"""MicroAST (AAAI 2023), so that its authors' checkpoints load: a peer to measure against (torch)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    deviation, mean = torch.std_mean(features, (2, 3), keepdim=True)
    return mean, (deviation.square() + EPSILON).sqrt()


class Convolution(nn.Module):
    """A convolution over reflected borders."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.padding = kernel // 2
        self.conv_layer = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same height and width, over the stride."""
        return self.conv_layer(functional.pad(features, [self.padding] * 4, mode="reflect"))


class Residual(nn.Module):
    """Two convolutions beside the identity; a style may scale their results (section 3.2, filter modulation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Convolution(channels, channels, 3), Convolution(channels, channels, 3)

    def forward(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Features [B, C, H, W]; weight and bias [B, C, 1, 1] of a style, or none of both."""
        if weight is None or bias is None:
            return features + self.conv2(functional.relu(self.conv1(features)))
        inner = functional.relu(weight * self.conv1(features) + bias * features)
        return features + weight * self.conv2(inner) + bias * inner


class MicroEncoder(nn.Module):
    """Features at 1/4 after one and after two residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.enc1 = nn.Sequential(
            *(Convolution(3, 16, 9), relu),
            *(Convolution(16, 32, 3, 2, 16), relu, Convolution(32, 32, 1), relu),
            *(Convolution(32, 64, 3, 2, 32), relu, Convolution(64, 64, 1), relu),
            Residual(64),
        )
        self.enc2 = nn.Sequential(Residual(64))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1]."""
        first = self.enc1(picture)
        return first, self.enc2(first)


class MicroModulator(nn.Module):
    """Style features -> weights and biases of the decoder's residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight1", "bias1", "weight2", "bias2"):
            setattr(self, name, nn.Sequential(Convolution(64, 64, 3, 1, 64), nn.AdaptiveAvgPool2d((1, 1))))

    def forward(self, levels: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(weights of both levels, biases of both levels), each [B, 64, 1, 1]."""
        first, second = levels
        return (self.weight1(first), self.weight2(second)), (self.bias1(first), self.bias2(second))


class MicroDecoder(nn.Module):
    """Two modulated residual blocks, then up to the picture."""

    def __init__(self) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.dec1, self.dec2 = Residual(64), Residual(64)
        self.dec3 = nn.Sequential(
            *(nn.Upsample(scale_factor=2, mode="bilinear"), Convolution(64, 32, 3, 1, 32), relu),
            *(Convolution(32, 32, 1), relu, nn.Upsample(scale_factor=2, mode="bilinear")),
            *(Convolution(32, 16, 3, 1, 16), relu, Convolution(16, 16, 1), relu, Convolution(16, 3, 9)),
        )

    def forward(self, content, style, weights, biases, strength: float) -> Tensor:
        """Levels of the content and of the style, modulation, strength -> picture."""
        features = _blend(content[1], style[1], strength)
        features = _blend(self.dec1(features, weights[1], biases[1]), style[0], strength)
        return self.dec3(self.dec2(features, weights[0], biases[0]))


def _blend(content: Tensor, style: Tensor, strength: float) -> Tensor:
    mean, deviation = _moments(content)
    style_mean, style_deviation = _moments(style)
    return torch.lerp(content, (content - mean) / deviation * style_deviation + style_mean, strength)


class MicroAST(nn.Module):
    """The whole network, 471,987 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.content_encoder, self.style_encoder = MicroEncoder(), MicroEncoder()
        self.modulator, self.decoder = MicroModulator(), MicroDecoder()

    def forward(self, content: Tensor, style: Tensor, strength: float = 1.0) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1], sides multiples of 4 -> pictures, not clipped."""
        levels = self.style_encoder(style)
        weights, biases = self.modulator(levels)
        return self.decoder(self.content_encoder(content), levels, weights, biases, strength)

"""VGG-19 and its slim form, with reflected borders, up to relu5_1 (torch)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor, nn
from torch.nn import functional

#: Convolutions of each of the five blocks, and their channels; the last block is used up to its first one.
BLOCKS = (2, 2, 4, 4, 1)
WIDTHS = (64, 128, 256, 512, 512)
SLIM_WIDTHS = (16, 32, 64, 128, 128)


def convolutions(last: str, widths: tuple[int, ...] = WIDTHS) -> Iterator[tuple[str, int, int]]:
    """(name such as "1_1", inputs, outputs) of each convolution up to the one that `last` ("relu3_1") names."""
    inputs = 3
    for block, (count, outputs) in enumerate(zip(BLOCKS, widths, strict=True), 1):
        for index in range(1, count + 1):
            yield f"{block}_{index}", inputs, outputs
            if last == f"relu{block}_{index}":
                return
            inputs = outputs


class Vgg19(nn.Module):
    """VGG-19 as style transfer uses it: a 1 x 1 convolution of the colours, then blocks with max pooling between them.

    Args:
        last: the deepest activation, "relu1_1" to "relu5_1".
        widths: channels of the five blocks.
        reflected: borders are reflected, as in the community's files; else they are zero, which is faster and near
        enough
            for losses.
    """

    def __init__(self, last: str = "relu5_1", widths: tuple[int, ...] = WIDTHS, reflected: bool = True) -> None:
        super().__init__()
        self.last, self.reflected = last, reflected
        self.colours = nn.Conv2d(3, 3, 1)
        self.layers = nn.ModuleDict(
            {name: nn.Conv2d(inputs, outputs, 3) for name, inputs, outputs in convolutions(last, widths)}
        )

    def forward(self, picture: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Activations by name, such as "relu3_1", of a picture [B, 3, H, W] in [0, 1]."""
        found: dict[str, Tensor] = {}
        features, block = self.colours(picture), "1"
        for name, layer in self.layers.items():
            if name[0] != block:
                features, block = functional.max_pool2d(features, 2), name[0]
            features = functional.relu(self._convolved(layer, features))
            if f"relu{name}" in taps:
                found[f"relu{name}"] = features
            if len(found) == len(taps):
                break
        return found

    def _convolved(self, layer: nn.Module, features: Tensor) -> Tensor:
        if self.reflected:
            return layer(functional.pad(features, (1, 1, 1, 1), mode="reflect"))
        return functional.conv2d(features, layer.weight, layer.bias, padding=1)  # type: ignore[arg-type]

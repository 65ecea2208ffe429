"""Super-resolution networks of the community: FSRCNN (Dong et al., ECCV 2016) and ESPCN (Shi et al., CVPR 2016).

Both work on luminance; chrominance is enlarged bicubically, as their authors do.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ...errors import BadCheckpoint
from ...pictures import floats
from ...stylizer import Band, Content
from .colours import to_rgb, to_ycbcr

#: Side of what is enlarged at once, in pixels of the picture.
TILE = 192
_FSRCNN = tuple((f"f{n}", f"b{n}", f"alpha{n}" if n < 8 else None) for n in range(1, 9))
_ESPCN = tuple((f"conv{n}.weight", f"conv{n}.bias", None) for n in range(1, 5))


class SuperResolution(nn.Module):
    """Convolutions on luminance, the last one's channels shuffled to pixels.

    Args:
        layers: weight [out, in, h, w], bias [out], and PReLU's slopes [out]; without slopes it is ReLU.
    """

    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]) -> None:
        super().__init__()
        self.factor = isqrt(layers[-1][0].shape[0])
        for place, (weight, bias, slopes) in enumerate(layers):
            self.register_buffer(f"weight{place}", weight)
            self.register_buffer(f"bias{place}", bias)
            if slopes is not None:
                self.register_buffer(f"slopes{place}", slopes)
        self._depth = len(layers)
        # What a pixel is made of reaches so far; of chrominance two pixels.
        self._margin = max(2, sum(max(weight.shape[2:]) // 2 for weight, _, _ in layers))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w] to [n, 3, factor h, factor w]."""
        ycbcr = to_ycbcr(pictures)
        size = [side * self.factor for side in pictures.shape[2:]]
        chroma = functional.interpolate(ycbcr[:, 1:], size=size, mode="bicubic", align_corners=False)
        return to_rgb(torch.cat([self._luminance(ycbcr[:, :1]), chroma], dim=1)).clamp(0, 1)

    def bands(self, picture: Content) -> Iterator[Band]:
        """A picture [h, w, 3] enlarged, in bands from top to bottom; pixels are those of the picture as a whole."""
        height, width = picture.shape[:2]
        for first in range(0, height, TILE):
            rows = slice(first, min(first + TILE, height))
            columns = (slice(left, min(left + TILE, width)) for left in range(0, width, TILE))
            made = np.concatenate([self._tile(picture, rows, part) for part in columns], axis=1)
            yield slice(rows.start * self.factor, rows.stop * self.factor), made

    @torch.no_grad()
    def _tile(self, picture: Content, rows: slice, columns: slice) -> NDArray[np.float32]:
        (above, down), (left, across) = (
            (max(0, part.start - self._margin), part.stop + self._margin) for part in (rows, columns)
        )
        seen = torch.from_numpy(floats(picture[above:down, left:across])).permute(2, 0, 1)[None]
        made = self(seen)[0].permute(1, 2, 0).numpy()
        top, side = (self.factor * (part.start - before) for part, before in ((rows, above), (columns, left)))
        tall, wide = (self.factor * (part.stop - part.start) for part in (rows, columns))
        return made[top : top + tall, side : side + wide]

    def _luminance(self, values: torch.Tensor) -> torch.Tensor:
        for place in range(self._depth):
            weight = self.get_buffer(f"weight{place}")
            bias = self.get_buffer(f"bias{place}")
            last = place == self._depth - 1
            # A last layer with one bias adds it after the shuffle, to all pixels alike.
            values = functional.conv2d(values, weight, None if last and len(bias) == 1 else bias, padding="same")
            if last:
                values = functional.pixel_shuffle(values, self.factor)
                return values + bias if len(bias) == 1 else values
            slopes = getattr(self, f"slopes{place}", None)
            values = functional.relu(values) if slopes is None else functional.prelu(values, slopes)
        raise AssertionError("no layers")


def load_super_resolution(path: Path) -> SuperResolution:
    """Load FSRCNN or ESPCN from an .npz of its arrays, by the names that their authors give them.

    FSRCNN: ``f1``..``f8`` [height, width, in, out], ``b1``..``b8``, ``alpha1``..``alpha7`` (TensorFlow's order). ESPCN:
    ``conv1.weight`` [out, in, height, width], ``conv1.bias``, to 4.

    Raises:
        BadCheckpoint: an array is missing, has a wrong shape or is not finite.
    """
    arrays = _arrays(path)
    names, transposed = (_FSRCNN, True) if "f1" in arrays else (_ESPCN, False)
    layers, channels = [], 1
    for weight, bias, slopes in names:
        kernel = _array(path, arrays, weight, 4)
        kernel = kernel.transpose(3, 2, 0, 1) if transposed else kernel
        if kernel.shape[1] != channels:
            raise BadCheckpoint(path, f"{weight}: takes {kernel.shape[1]} channels; accepted: {channels}")
        channels = kernel.shape[0]
        rest = [None if name is None else torch.from_numpy(_array(path, arrays, name, 1)) for name in (bias, slopes)]
        for name, part in zip((bias, slopes), rest, strict=True):
            if part is not None and len(part) not in (1, channels):
                raise BadCheckpoint(path, f"{name}: {len(part)} values; accepted: {channels}")
        assert rest[0] is not None
        layers.append((torch.from_numpy(np.ascontiguousarray(kernel)), rest[0], rest[1]))
    if isqrt(channels) ** 2 != channels:
        raise BadCheckpoint(path, f"{names[-1][0]}: {channels} channels out; accepted: a square, by which it enlarges")
    return SuperResolution(layers).eval()


def _arrays(path: Path) -> Mapping[str, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name].astype(np.float32) for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise BadCheckpoint(path, f"cannot be read ({error}); accepted: an .npz of FSRCNN or ESPCN") from error


def _array(path: Path, arrays: Mapping[str, NDArray[np.float32]], name: str, axes: int) -> NDArray[np.float32]:
    found = arrays.get(name)
    if found is None:
        raise BadCheckpoint(path, f"{name}: missing; accepted: arrays {_FSRCNN[0][0]}.. or {_ESPCN[0][0]}..")
    if found.ndim != axes:
        raise BadCheckpoint(path, f"{name}: shape {found.shape}; accepted: {axes} axes")
    if not np.isfinite(found).all():
        raise BadCheckpoint(path, f"{name}: values that are not finite; accepted: finite ones")
    return found

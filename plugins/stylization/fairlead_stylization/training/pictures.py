"""Pictures for training: decoded once, cropped, turned and recoloured at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..errors import BadPicture, BadSetting
from ..pictures.folders import TRAINED, list_folder
from ..pictures.profiles import in_srgb
from ..quality.split import is_test
from .textures import textures

LONGEST = 1600
SHORTEST = 640


def read_folder(folder: Path) -> list[Tensor]:
    """Pictures [3, H, W] (uint8) of a folder, made smaller where they are large; none of the test split.

    Raises:
        BadSetting: a folder without pictures.
        BadPicture: one that cannot be read.
    """
    listed = list_folder(folder, TRAINED, within=True)
    pictures = [_read(path) for path in listed.paths if not is_test(path)]
    if not pictures:
        there = f" ({listed.counted})" if listed.others else ""
        raise BadSetting(
            f"pictures: {folder} has none that training may read{there}; accepted: .jpg, .png and .webp files"
        )
    return pictures


def _read(path: Path) -> Tensor:
    try:
        with Image.open(path) as file:
            file.load()
            picture = in_srgb(file)[0].convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{path}: cannot be decoded ({error}); accepted: a whole picture") from error
    factor = min(1.0, SHORTEST / min(picture.size), LONGEST / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return torch.from_numpy(np.array(picture.resize(size, Image.Resampling.LANCZOS))).permute(2, 0, 1).contiguous()


@dataclass
class Sampler:
    """Draws batches.

    Attributes:
        photographs, paintings: uint8 pictures [3, H, W].
        random: where all chance comes from.
        foreign: share of contents that are paintings and of styles that are photographs.
    """

    photographs: list[Tensor]
    paintings: list[Tensor]
    random: np.random.Generator
    foreign: float = 0.1

    @classmethod
    def of(cls, contents: Path, styles: Path, seed: int) -> Sampler:
        """All pictures of two folders, and procedural textures as a tenth of the styles."""
        paintings = read_folder(styles)
        made = textures(len(paintings) // 10, 384, seed)
        paintings += [torch.from_numpy(picture).permute(2, 0, 1) for picture in made]
        return cls(read_folder(contents), paintings, np.random.default_rng(seed))

    def split(self, count: int) -> list[Sampler]:
        """Samplers of the same pictures, each with its own chance."""
        return [replace(self, random=random) for random in self.random.spawn(count)]

    def batch(self, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Contents and styles, [count, 3, size, size] each, in [0, 1]."""
        contents = [self._one(self.photographs, self.paintings, size, 0.25, 0.15) for _ in range(count)]
        styles = [self._bolder(self._one(self.paintings, self.photographs, size, 0.35, 0.3)) for _ in range(count)]
        return torch.stack(contents), torch.stack(styles)

    def _one(self, usual: list[Tensor], other: list[Tensor], size: int, least: float, recolour: float) -> Tensor:
        pool = other if self.random.random() < self.foreign else usual
        picture = pool[int(self.random.integers(len(pool)))]
        picture = self._crop(picture, size, least)
        return self._recoloured(picture) if self.random.random() < recolour else picture

    def _crop(self, picture: Tensor, size: int, least: float) -> Tensor:
        """A square of at least that share of the shorter side, brought to `size`, perhaps turned over."""
        height, width = picture.shape[1:]
        shorter = min(height, width)
        side = int(shorter * self.random.uniform(min(1.0, max(least, size / shorter / 1.5)), 1.0))
        top = int(self.random.integers(height - side + 1))
        left = int(self.random.integers(width - side + 1))
        square = picture[:, top : top + side, left : left + side].float()[None] / 255
        square = functional.interpolate(square, size=(size, size), mode="bilinear", antialias=True)[0]
        return square.flip(2) if self.random.random() < 0.5 else square

    def _bolder(self, picture: Tensor) -> Tensor:
        """A style in seven with more contrast and harder edges: most paintings are soft, and prints are not."""
        if self.random.random() < 0.85:
            return picture
        gain, edge = self.random.uniform(1.0, 1.7), self.random.uniform(0.0, 1.5)
        smooth = functional.avg_pool2d(picture[None], 5, 1, 2, count_include_pad=False)[0]
        middle = picture.mean((1, 2), keepdim=True)
        return (middle + gain * (picture - middle) + edge * (picture - smooth)).clamp(0, 1)

    def _recoloured(self, picture: Tensor) -> Tensor:
        """Channels exchanged and mixed, another gamma."""
        order = torch.from_numpy(self.random.permutation(3))
        mix = torch.eye(3) + torch.from_numpy(self.random.normal(0, 0.15, (3, 3))).float()
        mixed = torch.einsum("ij,jhw->ihw", mix / mix.sum(1, keepdim=True).clamp_min(0.3), picture[order])
        return mixed.clamp(0, 1) ** float(self.random.uniform(0.6, 1.6))

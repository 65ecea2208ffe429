"""What the small generators are trained on: crops of pictures, holes in them, hints of what belongs there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional

from ...errors import BadPicture
from ...pictures import Picture, read_picture
from ...pictures.folders import TRAINED, list_folder

#: Share of examples without any hint, and standard deviation of what is added to hints: they are never quite right.
PLAIN, ROUGH = 0.5, 0.03


def read_all(folder: Path, crop: int, skipped: Callable[[Path], bool]) -> list[Picture]:
    """All pictures below a folder that are as large as a crop; raises BadPicture where there is none."""
    found = []
    for path in list_folder(folder, TRAINED, within=True).paths:
        if not skipped(path):
            picture = read_picture(path)
            if min(picture.height, picture.width) >= crop:
                found.append(picture)
    if not found:
        raise BadPicture(f"{folder}: no picture of {crop}x{crop} pixels; accepted: at least one in it or below it")
    return found


def cropped(pictures: list[Picture], side: int, rng: np.random.Generator) -> torch.Tensor:
    """A square [3, side, side] of one of the pictures, mirrored half of the time, a little lighter or darker."""
    picture = pictures[rng.integers(len(pictures))].pixels
    # Larger squares are taken and made smaller, so that things are seen at several sizes.
    most = min(*picture.shape[:2], 5 * side)
    taken = int(side * (most / side) ** rng.random())
    top, left = (int(rng.integers(0, size - taken + 1)) for size in picture.shape[:2])
    square = torch.from_numpy(picture[top : top + taken, left : left + taken]).permute(2, 0, 1)[None]
    small = functional.interpolate(square, size=(side, side), mode="area")[0]
    lit = small.clamp(min=1e-4) ** float(np.exp(rng.normal(0, 0.2))) * float(rng.uniform(0.8, 1.0))
    return lit.flip(2) if rng.random() < 0.5 else lit


def holes(count: int, side: int, rng: np.random.Generator) -> torch.Tensor:
    """Return holes [count, 1, side, side] of a few boxes, strokes and blots each."""
    made = [_hole(side, rng) for _ in range(count)]
    return torch.from_numpy(np.stack(made))[:, None]


def _hole(side: int, rng: np.random.Generator) -> np.ndarray:
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    kinds = (_box, _stroke, _blot)
    for _ in range(rng.integers(1, 4)):
        kinds[rng.integers(len(kinds))](draw, side, rng)
    return np.asarray(image, np.float32)


def _box(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    height, width = (int(size) for size in rng.integers(max(1, side // 10), side * 2 // 5, 2))
    left, top = int(rng.integers(0, side - width)), int(rng.integers(0, side - height))
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=1)


def _stroke(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """A line that turns, as a brush draws it."""
    thick, place, angle = int(rng.integers(2, max(3, side // 8))), rng.uniform(0, side, 2), rng.uniform(0, 6.28)
    for _ in range(rng.integers(1, 8)):
        angle += rng.normal(0, 0.8)
        ahead = place + rng.uniform(side / 16, side / 4) * np.array([np.cos(angle), np.sin(angle)])
        draw.line((*place, *ahead), fill=1, width=thick)
        draw.ellipse((*(ahead - thick / 2), *(ahead + thick / 2)), fill=1)
        place = ahead


def _blot(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    corners, middle = int(rng.integers(5, 12)), rng.uniform(0, side, 2)
    angles = np.sort(rng.uniform(0, 6.28, corners))
    reach = rng.uniform(side / 16, side / 4, corners)
    points = middle + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    draw.polygon([tuple(point) for point in points.tolist()], fill=1)


def hinted(plain: torch.Tensor, truth: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """What a network begins with, led towards the truth in some examples, in some places, roughly.

    Args:
        plain: [n, c, h, w], without hints.
        truth: [n, c, h, w].
        rng: draws which, where and how rough.
    """
    begun = [
        one if rng.random() < PLAIN else one + _hint(one, true, rng) for one, true in zip(plain, truth, strict=True)
    ]
    return torch.stack(begun)


def _hint(plain: torch.Tensor, truth: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    cell = int(2 ** rng.integers(2, 6))
    coarse = _coarse(truth - plain, cell)
    cells = [max(1, size // cell) for size in coarse.shape[1:]]
    rough = torch.from_numpy(rng.normal(0, ROUGH, (len(plain), *cells)).astype(np.float32))
    where = torch.from_numpy((rng.random((1, 4, 4)) < rng.uniform(0.2, 1.2)).astype(np.float32))
    size = plain.shape[1:]
    return (rng.uniform(0.5, 1.0) * coarse + _spread(rough, size)) * _spread(where, size)


def _coarse(values: torch.Tensor, cell: int) -> torch.Tensor:
    cells = [max(1, size // cell) for size in values.shape[1:]]
    return _spread(functional.adaptive_avg_pool2d(values[None], cells)[0], values.shape[1:])


def _spread(values: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return functional.interpolate(values[None], size=size, mode="bicubic", align_corners=False)[0]

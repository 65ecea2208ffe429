"""Training of the small generators, from a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from ...errors import BadPicture, BadSetting
from ...pictures import Picture, read_picture
from .colorization import Colorization
from .colours import to_ycbcr
from .inpainting import Inpainting

Kind = Literal["inpainting", "colorization"]
KINDS: dict[str, type[Inpainting] | type[Colorization]] = {"inpainting": Inpainting, "colorization": Colorization}


@dataclass(frozen=True, slots=True)
class GeneratorTraining:
    """How a small generator is trained.

    Attributes:
        kind: inpainting or colorization.
        steps, batch: of Adam, and pictures in one.
        crop: side of the squares that are cut out, in pixels.
        learning_rate: at first; it falls to 0 by a cosine.
        seed: of the weights, the crops and the holes.
    """

    kind: Kind
    steps: int = 4000
    batch: int = 8
    crop: int = 128
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadSetting(f"kind {self.kind!r}; accepted: {', '.join(KINDS)}")
        for name, value, least in (("steps", self.steps, 1), ("batch", self.batch, 1), ("crop", self.crop, 32)):
            if value < least:
                raise BadSetting(f"{name} {value}; accepted: {least} and above")
        if not 0 < self.learning_rate < 1:
            raise BadSetting(f"learning_rate {self.learning_rate}; accepted: above 0, below 1")


def train_generator(
    folder: Path,
    wanted: GeneratorTraining,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    skipped: Callable[[Path], bool] = lambda path: False,
) -> torch.nn.Module:
    """Train on all pictures below a folder.

    Args:
        folder: with pictures, also in folders of it.
        wanted: what is trained, and how.
        progress: is told each step and its loss.
        skipped: pictures that must not be used.

    Raises:
        BadPicture: no picture is as large as a crop.
    """
    rng = np.random.default_rng(wanted.seed)
    torch.manual_seed(wanted.seed)
    pictures = _pictures(folder, wanted.crop, skipped)
    network = KINDS[wanted.kind]()
    optimizer = torch.optim.AdamW(network.parameters(), wanted.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, wanted.steps)
    for step in range(wanted.steps):
        batch = torch.stack([_crop(pictures, wanted.crop, rng) for _ in range(wanted.batch)])
        loss = _LOSSES[wanted.kind](network, batch, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step + 1, float(loss.detach()))
    return network.eval()


def holes(count: int, side: int, rng: np.random.Generator) -> torch.Tensor:
    """Return holes [count, 1, side, side] of a few boxes and strokes each, that cover a tenth to a third."""
    made = torch.zeros(count, 1, side, side)
    for hole in made:
        for _ in range(rng.integers(1, 4)):
            height, width = (int(size) for size in rng.integers(side // 10, side // 3, 2))
            top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
            hole[0, top : top + height, left : left + width] = 1
        for _ in range(rng.integers(0, 4)):
            thick, place = int(rng.integers(2, 7)), int(rng.integers(0, side - 7))
            (hole if rng.random() < 0.5 else hole.transpose(1, 2))[0, place : place + thick] = 1
    return made


def _inpainting_loss(network: torch.nn.Module, batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    hole = holes(len(batch), batch.shape[-1], rng)
    made = network(batch, hole)
    error = (made - batch).abs().sum() / (3 * hole.sum())
    # Edges count beside colours: without them holes are filled with fog.
    edges = sum((torch.diff(made, dim=axis) - torch.diff(batch, dim=axis)).abs().sum() for axis in (2, 3))
    return error + 0.5 * edges / (3 * hole.sum())


def _colorization_loss(network: torch.nn.Module, batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    assert isinstance(network, Colorization)
    ycbcr = to_ycbcr(batch)
    wanted, made = ycbcr[:, 1:], network.chroma(ycbcr[:, :1])
    # Most of a picture has little colour: what has more counts more, or everything turns brown.
    weight = 0.1 + wanted.square().sum(dim=1, keepdim=True).sqrt()
    return (functional.smooth_l1_loss(made, wanted, beta=0.02, reduction="none") * weight).sum() / weight.sum()


_LOSSES = {"inpainting": _inpainting_loss, "colorization": _colorization_loss}


def _pictures(folder: Path, crop: int, skipped: Callable[[Path], bool]) -> list[Picture]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") and not skipped(path):
            picture = read_picture(path)
            if min(picture.height, picture.width) >= crop:
                found.append(picture)
    if not found:
        raise BadPicture(f"{folder}: no picture of {crop}x{crop} pixels; accepted: at least one in it or below it")
    return found


def _crop(pictures: list[Picture], side: int, rng: np.random.Generator) -> torch.Tensor:
    picture = pictures[rng.integers(len(pictures))].pixels
    # Larger squares are taken and made smaller, so that things are seen at several sizes.
    most = min(*picture.shape[:2], 3 * side)
    taken = int(rng.integers(side, most + 1))
    top, left = (int(rng.integers(0, size - taken + 1)) for size in picture.shape[:2])
    square = torch.from_numpy(picture[top : top + taken, left : left + taken]).permute(2, 0, 1)[None]
    small = functional.interpolate(square, size=(side, side), mode="area")[0]
    return small.flip(2) if rng.random() < 0.5 else small

"""Training of the small generators, from a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...errors import BadSetting
from .colorization import Colorization
from .colours import to_ycbcr
from .examples import cropped, hinted, holes, read_all
from .inpainting import Inpainting

Kind = Literal["inpainting", "colorization"]
KINDS: dict[str, type[Inpainting] | type[Colorization]] = {"inpainting": Inpainting, "colorization": Colorization}
#: What is kept is the mean of the weights over about so many steps, or a tenth of all.
_KEPT_STEPS = 1000


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
    pictures = read_all(folder, wanted.crop, skipped)
    network = KINDS[wanted.kind]()
    kept = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / min(_KEPT_STEPS, 1 + wanted.steps // 10)))
    optimizer = torch.optim.AdamW(network.parameters(), wanted.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, wanted.steps)
    for step in range(wanted.steps):
        batch = torch.stack([cropped(pictures, wanted.crop, rng) for _ in range(wanted.batch)])
        loss = _LOSSES[wanted.kind](network, batch, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        kept.update_parameters(network)
        progress(step + 1, float(loss.detach()))
    return kept.module.eval()


def _inpainting_loss(network: torch.nn.Module, batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    assert isinstance(network, Inpainting)
    hole = holes(len(batch), batch.shape[-1], rng)
    begun = hinted(network.start(batch, hole), batch, rng)
    made = network.finish(torch.lerp(batch, begun, hole), hole)
    error = functional.smooth_l1_loss(made, batch, beta=0.1, reduction="sum") / (3 * hole.sum())
    # Edges count beside colours: without them holes are filled with fog.
    edges = sum((torch.diff(made, dim=axis) - torch.diff(batch, dim=axis)).abs().sum() for axis in (2, 3))
    return error + 0.5 * edges / (3 * hole.sum())


def _colorization_loss(network: torch.nn.Module, batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    assert isinstance(network, Colorization)
    ycbcr = to_ycbcr(batch)
    wanted = ycbcr[:, 1:]
    made = network.chroma(ycbcr[:, :1], hinted(torch.zeros_like(wanted), wanted, rng))
    # Most of a picture has little colour: what has more counts more, or everything turns brown.
    weight = 0.1 + wanted.square().sum(dim=1, keepdim=True).sqrt()
    return (functional.smooth_l1_loss(made, wanted, beta=0.02, reduction="none") * weight).sum() / weight.sum()


_LOSSES = {"inpainting": _inpainting_loss, "colorization": _colorization_loss}

"""Trains a refiner: VGG-19 judges pictures after its steps, and the steps' own slopes go to its weights (torch)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checkpoints.files import write_tensors
from ..checkpoints.vgg import read_vgg
from ..errors import BadSetting
from ..losses.statistics import content_loss, style_loss
from ..networks.refiner import Refiner
from ..networks.shape import REFINERS
from ..quality.perceptual import LAYERS
from ..stylizer import NetworkStylizer, Style
from .loop import rate_at
from .pictures import Sampler
from .settings import TrainingSettings

#: Added to losses before their logarithm is taken.
SMALL = 0.05

#: Of a picture in training: every step has the same weights.
MOST_STEPS = 2

#: The refiner's layers off which those of VGG-19 are read.
READ = (0, 1, 3)

Seen = dict[str, Tensor]
Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Batch:
    """Contents and styles, [B, 3, H, W] each, and VGG-19's view of them."""

    content: Tensor
    style: Tensor
    seen_content: Seen
    seen_style: Seen

    def rolled(self) -> Batch:
        """The same contents with their neighbours' styles."""
        seen = {layer: value.roll(1, 0) for layer, value in self.seen_style.items()}
        return Batch(self.content, self.style.roll(1, 0), self.seen_content, seen)


class RefinerRun:
    """A run's whole state.

    Args:
        settings: of the run; of `losses` it knows `style` and `content`, weights of their logarithms, and `distilled`:
            how much it counts that VGG-19's features can be read off the refiner's.
        base: makes the pictures that are refined.
        name: of the refiner, and with it of the file of its weights; the settings' variant where None.

    Raises:
        BadSetting: folders without pictures.
        BadCheckpoint: a file of VGG-19 that cannot be used.
    """

    def __init__(self, settings: TrainingSettings, base: NetworkStylizer, name: str | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.base, self.step, self.name = settings, base, 0, name or settings.variant
        self.sampler = Sampler.of(settings.contents, settings.styles, settings.seed)
        self.judge = read_vgg(settings.vgg)
        if not set(LAYERS) <= {f"relu{name}" for name in self.judge.layers}:
            raise BadSetting(f"vgg: {settings.vgg} ends at {self.judge.last}; accepted: relu3_1 or deeper")
        self.judge.to(torch.bfloat16, memory_format=torch.channels_last)
        shape = REFINERS[self.name]
        self.refiner = Refiner(replace(shape, steps=min(shape.steps, MOST_STEPS)))
        self.heads = self._heads()
        self.average = {name: value.clone() for name, value in self.refiner.state_dict().items()}
        self.optimizer = torch.optim.Adam([*self.refiner.parameters(), *self.heads.parameters()], lr=settings.rate)
        self._left: Batch | None = None

    def advance(self) -> dict[str, float]:
        """One step; returns the terms of its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        batch = self._batch()
        self.refiner.train()
        start = self._drawn(batch.content, batch.style)
        refined = self.refiner(start, self.refiner.target(batch.style, batch.content))
        terms = dict(zip(("style", "content"), self._losses(refined, batch), strict=True))
        weights = self.settings.losses
        # Of logarithms, so that a few pairs of extreme pictures are not most of it.
        total = sum(getattr(weights, name) * (value + SMALL).log().mean() for name, value in terms.items())
        if weights.distilled:
            terms["distilled"] = self._distilled(batch)
            total = total + weights.distilled * terms["distilled"]
        self._learn(total)
        if self.step % 5 == 0 or self.step % self.settings.every == 0:
            with torch.no_grad():
                before = self._losses(start, batch)[0] + SMALL
            terms["ratio"] = (terms["style"] + SMALL) / before
        return {name: float(value.detach().mean()) for name, value in terms.items()}

    def _learn(self, total: Tensor) -> None:
        """Go down a loss's slope, if it has one."""
        self.optimizer.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_([*self.refiner.parameters(), *self.heads.parameters()], 2.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        self._follow()

    @torch.no_grad()
    def _batch(self) -> Batch:
        """Every batch serves twice, the second time paired anew."""
        if self._left is not None:
            batch, self._left = self._left.rolled(), None
            return batch
        content, style = self.sampler.batch(self.settings.batch, self.settings.size)
        self._left = Batch(content, style, self._seen(content, LAYERS[-1:]), self._seen(style, LAYERS))
        return self._left

    def _drawn(self, content: Tensor, style: Tensor) -> Tensor:
        pairs = zip(content, style, strict=True)
        made = [self.base.stylize(_rows(content), [Style(_rows(style))]) for content, style in pairs]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()

    def _seen(self, pictures: Tensor, layers: Sequence[str]) -> Seen:
        return self.judge(pictures.to(torch.bfloat16, memory_format=torch.channels_last), layers)

    def _losses(self, pictures: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        seen = self._seen(pictures, LAYERS)
        return style_loss(seen, batch.seen_style, LAYERS), content_loss(seen, batch.seen_content, LAYERS[-1:])

    def _distilled(self, batch: Batch) -> Tensor:
        """How much of VGG-19's features cannot be read off the refiner's, on styles: 0 to about 1 a layer."""
        pairs = self._read_off(self.refiner.features(batch.style), batch.seen_style)
        return torch.stack(
            [(got - wanted).square().mean() / wanted.var((0, 2, 3)).mean() for got, wanted in pairs]
        ).sum()

    def _read_off(self, features: list[Tensor], seen: Seen) -> Iterator[tuple[Tensor, Tensor]]:
        """What is read off the refiner's features, and what VGG-19 sees there: pairs of [B, C, H, W], one a layer."""
        for layer, place, head in zip(LAYERS, READ, self.heads, strict=True):
            got = head(features[place])
            yield got, functional.adaptive_avg_pool2d(seen[layer].float(), got.shape[2:])

    def _heads(self) -> nn.ModuleList:
        """What reads VGG-19's features off the refiner's."""
        widths = [self.judge.layers[layer.removeprefix("relu")].out_channels for layer in LAYERS]
        pairs = zip(READ, widths, strict=True)
        return nn.ModuleList(nn.Conv2d(self.refiner.shape.channels[place], int(width), 1) for place, width in pairs)

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for name, value in self.refiner.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    @property
    def weights(self) -> Path:
        """The file of the averaged weights, in 16-bit floats."""
        return self.settings.out / f"{self.name}-refiner.safetensors"

    def save(self) -> None:
        """Keep the state, and the averaged weights apart."""
        folder = self.settings.out
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "refiner": self.refiner.state_dict(),
            "heads": self.heads.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "random": json.dumps(self.sampler.random.bit_generator.state),
        }
        torch.save(state, folder / "state.new")
        (folder / "state.new").replace(folder / "state.pt")
        write_tensors(self.weights, {name: value.half() for name, value in self.average.items()})

    def resume(self) -> bool:
        """Go on from the folder's state; False where there is none."""
        path = self.settings.out / "state.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.refiner.load_state_dict(state["refiner"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.average = state["step"], state["average"]
        self.sampler.random.bit_generator.state = json.loads(state["random"])
        return True


def train_refiner(
    settings: TrainingSettings,
    base: NetworkStylizer,
    progress: Progress = lambda step, losses: None,
    kind: type[RefinerRun] = RefinerRun,
) -> Path:
    """Train to `settings.steps`, going on where an earlier run in the same folder stopped.

    Returns:
        The file of the averaged weights, `VARIANT-refiner.safetensors`.

    Raises:
        BadSetting, BadCheckpoint: as `RefinerRun`.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    run = kind(settings, base)
    run.resume()
    since: list[dict[str, float]] = []
    while run.step < settings.steps:
        since.append(run.advance())
        if run.step % settings.every == 0 or run.step == settings.steps:
            named = {name: [losses[name] for losses in since if name in losses] for name in since[-1]}
            means = {name: float(np.mean(values)) for name, values in named.items()}
            since.clear()
            run.save()
            with (settings.out / "losses.jsonl").open("a") as file:
                file.write(json.dumps({"step": run.step, "time": time.time(), **means}) + "\n")
            progress(run.step, means)
    return run.weights


def _rows(picture: Tensor) -> np.ndarray:
    return picture.permute(1, 2, 0).contiguous().numpy()

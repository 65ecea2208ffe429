"""Trains the slope that scenes' views go down: a small network that sees a picture as VGG-19 does (torch).

Its last layer is to be relu3_1 itself, at every place, and relu1_1 and relu2_1 are to be read off the first two; what
each channel counts is learned, so that losses are those of VGG-19. A slope that is followed for long finds what its
network does not see. So the network is also shown what its own slope makes of pictures whose detail has to survive
resampling, as that of scenes' views has to, and is told what VGG-19 says of these.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..losses.statistics import Look, look_of
from ..networks.refiner import Refiner, statistics
from ..quality.perceptual import LAYERS
from ..stylizer import NetworkStylizer
from .loop import rate_at
from .refining import SMALL, RefinerRun, Seen
from .settings import TrainingSettings

#: How much it counts that relu1_1, relu2_1 and relu3_1 are seen.
SEEN = (0.3, 0.5, 1.5)
#: How much it counts that statistics of the last layer are right, and that losses are: all, and those but the last's.
STATISTICS, LOSSES = 1.0, 0.3
#: Share of batches whose pictures went down the slope, in the beginning and more of them in the end.
FOLLOWED = (0.15, 0.6)
#: Steps down the slope: at least, and less than.
STEPS = (2, 14)


@dataclass(frozen=True)
class _Pairs:
    """Which pictures of a batch's three kinds (styles, drawn ones, those that went on) are compared."""

    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, batch: int) -> _Pairs:
        """Both kinds of pictures with their styles and each other, and styles with their neighbours."""
        each = torch.arange(batch)
        ends = ((each + batch, each), (each + 2 * batch, each), (each + batch, each + 2 * batch), (each, each.roll(1)))
        return cls(torch.cat([pair[0] for pair in ends]), torch.cat([pair[1] for pair in ends]))


class SlopeRun(RefinerRun):
    """A run's whole state.

    Args:
        settings: of the run; its losses have weights of their own.
        base: makes pictures.

    Raises:
        BadSetting, BadCheckpoint: as `RefinerRun`.
    """

    def __init__(self, settings: TrainingSettings, base: NetworkStylizer) -> None:
        super().__init__(settings, base, "scene")
        with torch.no_grad():
            # VGG-19's loss is a mean over channels; the first layers' are another number of them.
            for weight, many in zip(self.refiner.weights, (150, 150, 1000, 256), strict=True):
                weight.fill_(-float(np.log(many)))
        self.average = {name: value.clone() for name, value in self.refiner.state_dict().items()}

    def advance(self) -> dict[str, float]:
        """One step; returns the terms of its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        pictures = self._pictures()
        with torch.no_grad():
            seen = self._seen(pictures, LAYERS)
            looks = look_of({layer: value.float() for layer, value in seen.items()}, LAYERS)
        with torch.autocast("cpu", torch.bfloat16):
            features = self.refiner.features(pictures)
        features = [found.float() for found in features]
        terms = {f"relu{place + 1}_1": value for place, value in enumerate(self._unseen(features, seen))}
        terms |= self._wrong(features, looks)
        total = sum(weight * value for weight, value in zip(SEEN, list(terms.values())[:3], strict=True))
        total = total + STATISTICS * terms["statistics"] + LOSSES * (terms["losses"] + terms["first losses"])
        self._learn(total)
        return {name: float(value.detach()) for name, value in terms.items()}

    @torch.no_grad()
    def _pictures(self) -> Tensor:
        """[3 B, 3, H, W]: styles, what is drawn of contents in them, and what is further from or nearer to them."""
        random, settings = self.sampler.random, self.settings
        content, style = self.sampler.batch(settings.batch, settings.size)
        drawn = self._drawn(content, style)
        drawn = varied(drawn, random) if random.random() < 0.25 else drawn
        other = drawn if random.random() < 0.8 else content
        share = FOLLOWED[0] + FOLLOWED[1] * self.step / settings.steps
        other = followed(self.refiner, other, style, random) if random.random() < share else varied(other, random)
        return torch.cat([style, drawn, other])

    def _unseen(self, features: list[Tensor], seen: Seen) -> list[Tensor]:
        """How much of VGG-19's features cannot be read off the network's, 0 to about 1 a layer."""
        found = []
        for got, wanted in self._read_off(features, seen):
            spread = wanted.var((0, 2, 3))
            found.append(((got - wanted).square().mean((0, 2, 3)) / (spread + 1e-3 * spread.mean())).mean())
        return found

    def _wrong(self, features: list[Tensor], looks: Look) -> dict[str, Tensor]:
        """How wrong statistics and losses are, by VGG-19's."""
        own = [statistics(found) for found in features]
        true = [torch.cat(looks[layer], 1) for layer in LAYERS]
        pairs = _Pairs.of(len(own[0]) // 3)

        def apart(values: Tensor) -> Tensor:
            return (values[pairs.first] - values[pairs.second]).square()

        said = [(apart(each) * weight.exp()).sum(1) for each, weight in zip(own, self.refiner.weights, strict=True)]
        # Means over channels, of means and of deviations.
        wanted = [2 * apart(each).mean(1) for each in true]
        return {
            "statistics": (own[-1] - true[-1]).square().sum(1).mean() / apart(true[-1]).sum(1).mean(),
            "losses": _wrongly(sum(said), sum(wanted)),
            "first losses": _wrongly(said[0] + said[1], wanted[0] + wanted[1]),
        }

    def _heads(self) -> nn.ModuleList:
        # The last layer is what it is to show.
        return nn.ModuleList([*super()._heads()[:-1], nn.Identity()])


def _wrongly(said: Tensor | int, wanted: Tensor | int) -> Tensor:
    """By how much losses are wrong, as logarithms."""
    return ((torch.as_tensor(said) + SMALL).log() - (torch.as_tensor(wanted) + SMALL).log()).abs().mean()


def varied(pictures: Tensor, random: np.random.Generator) -> Tensor:
    """Pictures [B, 3, H, W] in [0, 1] with more or less fine detail."""
    kind, size = random.integers(4), pictures.shape[2:]
    if kind == 0:
        changed = pictures + float(random.uniform(0.3, 2)) * _fine(pictures)
    elif kind == 1:
        changed = pictures - _fine(pictures)
    elif kind == 2:
        noise = torch.from_numpy(random.standard_normal(pictures.shape, np.float32))
        changed = pictures + float(random.uniform(0.01, 0.08)) * noise
    else:
        smaller = [round(float(random.uniform(0.4, 0.9)) * side) for side in size]
        changed = functional.interpolate(pictures, size=smaller, mode="bilinear", antialias=True)
        changed = functional.interpolate(changed, size=size, mode="bilinear")
    return changed.clamp(0, 1)


def followed(refiner: Refiner, pictures: Tensor, style: Tensor, random: np.random.Generator) -> Tensor:
    """What becomes of pictures [B, 3, H, W] whose detail is to survive resampling and whose loss is to stay.

    As scenes' views: what resampling takes away is taken, what is left is made stronger until its energy is as before,
    and then pictures go down the slope. By a copy of the refiner, in bfloat16.
    """
    copied = copy.deepcopy(refiner).requires_grad_(False).to(memory_format=torch.channels_last)
    energy, share = _energy(pictures), float(random.uniform(0.5, 1.2))
    with torch.autocast("cpu", torch.bfloat16):
        target = copied.target(style)
        most = share * copied.loss(copied.features(pictures), target)[0]
        for _ in range(int(random.integers(*STEPS))):
            pictures = pictures - 0.6 * _unsteady(pictures, random)
            gain = (energy / _energy(pictures).clamp_min(1e-9)).sqrt().clamp(0.5, 1.5)
            pictures = (pictures + (gain - 1) * _fine(pictures)).clamp(0, 1)
            with torch.enable_grad():
                pictures = pictures.detach().requires_grad_()
                loss = copied.loss(copied.features(pictures), target)[0].float()
                (slope,) = torch.autograd.grad(loss.sum(), pictures)
            length = (loss - most).clamp_min(0) / (slope.square().sum((1, 2, 3)) + 1e-12)
            step = float(random.uniform(0.5, 1.2)) * length[:, None, None, None] * slope
            pictures = (pictures - step).detach().clamp(0, 1)
    return pictures


def _unsteady(pictures: Tensor, random: np.random.Generator) -> Tensor:
    """What pictures lose by being moved by parts of a pixel and back, twice: where it is itself lost, most of it."""
    down, right = random.uniform(0.2, 0.8, 2)
    for _ in range(2):
        pictures = pictures - _moved(_moved(pictures, down, right, 1), down, right, -1)
    return pictures


def _moved(pictures: Tensor, down: float, right: float, way: int) -> Tensor:
    pictures = (1 - down) * pictures + down * pictures.roll(way, 2)
    return (1 - right) * pictures + right * pictures.roll(way, 3)


def _fine(pictures: Tensor) -> Tensor:
    """What a mean of 3 x 3 pixels takes away."""
    return pictures - functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _energy(pictures: Tensor) -> Tensor:
    return _fine(pictures).square().mean((1, 2, 3), keepdim=True)

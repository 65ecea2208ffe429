"""The training run: encoder, modulator and decoder together, the encoder held to VGG-19 by distillation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checkpoints.files import write_tensors
from ..checkpoints.vgg import read_vgg
from ..errors import BadSetting
from ..networks.shape import SHAPES
from ..networks.student import Student
from .objective import Objective, Targets
from .pictures import Sampler
from .settings import TrainingSettings

Progress = Callable[[int, dict[str, float]], None]


class Worker:
    """Draws batches and computes slopes with its own copy of the student, so that several can at once."""

    def __init__(self, settings: TrainingSettings, objective: Objective, sampler: Sampler) -> None:
        self.settings, self.objective, self.sampler = settings, objective, sampler
        self.student = Student(SHAPES[settings.variant]).to(memory_format=torch.channels_last)
        # Reads VGG's relu3_1 off the student's features at 1/4: what makes the encoder see as VGG does.
        self.head = nn.Conv2d(self.student.shape.channels[1], objective.near.layers["3_1"].out_channels, 1)
        self._left: tuple[Tensor, Tensor, Targets] | None = None

    def parameters(self) -> list[nn.Parameter]:
        """Of the student and the head."""
        return [*self.student.parameters(), *self.head.parameters()]

    def run(self, rehearsing: bool) -> dict[str, float]:
        """One batch: leaves slopes at the parameters, returns the terms of the loss."""
        for parameter in self.parameters():
            parameter.grad = None
        terms = self._terms(rehearsing)
        self.objective.total(terms).backward()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _terms(self, rehearsing: bool) -> dict[str, Tensor]:
        content, style, targets = self._batch()
        strength, same = draw_strengths(self.sampler.random, self.settings.batch)
        style = torch.where(same[:, None, None, None] > 0, content, style)
        targets = targets.with_itself(same)
        with torch.autocast("cpu", torch.bfloat16):
            passes = self.student.passes(content, style, strength)
        terms = self.objective.terms(passes.picture, targets, strength, same)
        terms["itself"] = functional.mse_loss(passes.itself.float(), style)
        if not rehearsing and self.settings.losses.distilled:
            terms["distilled"] = self._distilled(passes.levels[1], targets.near_style["relu3_1"].float())
        return terms

    def _distilled(self, features: Tensor, wanted: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.head(functional.relu(features))
        return functional.mse_loss(seen.float(), wanted) / wanted.square().mean()

    def _batch(self) -> tuple[Tensor, Tensor, Targets]:
        """Contents, styles and their activations; every batch serves twice, the second time paired anew."""
        if self._left is None:
            content, style = self.sampler.batch(self.settings.batch, self.settings.size)
            content = content.contiguous(memory_format=torch.channels_last)
            self._left = (content, style, self.objective.targets(content, style))
            return self._left
        (content, style, targets), self._left = self._left, None
        return content, style.roll(1, 0), targets.rolled()

    def forget(self) -> None:
        """Drop the batch that would serve again."""
        self._left = None


class Run:
    """A run's whole state: networks, optimizer, average, chance."""

    def __init__(self, settings: TrainingSettings) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.step = settings, 0
        self.objective = _objective(settings)
        samplers = Sampler.of(settings.contents, settings.styles, settings.seed).split(settings.workers)
        self.workers = [Worker(settings, self.objective, sampler) for sampler in samplers]
        self.student = self.workers[0].student
        self.average = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.workers[0].parameters(), lr=settings.rate)
        self.usual = 20.0
        self.pool = ThreadPoolExecutor(settings.workers)

    def advance(self) -> dict[str, float]:
        """One step; returns the terms of its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        self._rehearse(self.step < self.settings.rehearsal)
        terms = list(self.pool.map(lambda worker: worker.run(self.objective.rehearsing), self.workers))
        self._gather()
        self._clip()
        self.optimizer.step()
        self._spread()
        self.step += 1
        self._average()
        return {name: sum(one[name] for one in terms) / len(terms) for name in terms[0]}

    def _rehearse(self, rehearsing: bool) -> None:
        if rehearsing != self.objective.rehearsing:
            self.objective.rehearsing = rehearsing
            for worker in self.workers:
                worker.forget()

    def _gather(self) -> None:
        """The mean of all workers' slopes, at the first worker's parameters."""
        for same in zip(*(worker.parameters() for worker in self.workers), strict=True):
            slopes = [parameter.grad for parameter in same if parameter.grad is not None]
            if len(slopes) > 1:
                same[0].grad = torch.stack(slopes).mean(0)

    def _clip(self) -> None:
        """Bound the slopes by twice what they usually are: a few batches have slopes that would undo hours."""
        bound = 2 * self.usual
        norm = float(nn.utils.clip_grad_norm_(self.student.parameters(), bound, error_if_nonfinite=False))
        if not math.isfinite(norm):
            self.optimizer.zero_grad()
            return
        self.usual += 0.02 * (min(norm, bound) - self.usual)

    @torch.no_grad()
    def _spread(self) -> None:
        for worker in self.workers[1:]:
            for own, first in zip(worker.parameters(), self.workers[0].parameters(), strict=True):
                own.copy_(first)
            for own, first in zip(worker.student.buffers(), self.student.buffers(), strict=True):
                own.copy_(first)

    def _average(self) -> None:
        # Young averages follow faster, else the random start would show for thousands of steps.
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for name, value in self.student.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def save(self) -> None:
        """Keep the state, and the averaged weights apart."""
        folder = self.settings.out
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "student": self.student.state_dict(),
            "head": self.workers[0].head.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scales": self.objective.scales,
            "random": [json.dumps(worker.sampler.random.bit_generator.state) for worker in self.workers],
        }
        torch.save(state, folder / "state.new")
        (folder / "state.new").replace(folder / "state.pt")
        write_tensors(folder / "weights.safetensors", self.average)

    def resume(self) -> bool:
        """Go on from the folder's state; False where there is none."""
        path = self.settings.out / "state.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.student.load_state_dict(state["student"])
        self.workers[0].head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.average = state["step"], state["average"]
        self.objective.scales = state["scales"]
        for worker, kept in zip(self.workers, state["random"], strict=False):
            worker.sampler.random.bit_generator.state = json.loads(kept)
        self._spread()
        return True


def _objective(settings: TrainingSettings) -> Objective:
    near = read_vgg(settings.vgg)
    deep = None if settings.slim is None else read_vgg(settings.slim, "relu5_1")
    if deep is None and near.last != "relu5_1" and not settings.losses.near_only:
        raise BadSetting(
            f"slim: none, and {settings.vgg} ends at {near.last}; accepted: the slim network's file, or weight 0 of "
            "deep_content, deep_style, patches, attention and identity"
        )
    for network in (near, deep):
        if network is not None:
            # bfloat16 over channels-last memory is ten times as fast on processors with matrix units.
            network.to(torch.bfloat16, memory_format=torch.channels_last)
    return Objective(near, deep, settings.losses)


def rate_at(step: int, settings: TrainingSettings) -> float:
    """Adam's rate: a rise, then a cosine to a hundredth."""
    rise = min(1.0, (step + 1) / settings.warmup)
    fall = 0.505 + 0.495 * math.cos(math.pi * min(1.0, step / settings.steps))
    return settings.rate * rise * fall


def draw_strengths(random: np.random.Generator, batch: int) -> tuple[Tensor, Tensor]:
    """(strengths, where the style is the content): a batch's last picture at any strength, or perhaps by itself."""
    strength = np.ones(batch, np.float32)
    same = np.zeros(batch, np.float32)
    strength[-1] = random.random()
    if random.random() < 0.3:
        same[-1] = strength[-1] = 1
    return torch.from_numpy(strength), torch.from_numpy(same)


def train(settings: TrainingSettings, progress: Progress = lambda step, terms: None) -> Path:
    """Train to `settings.steps`, going on where an earlier run in the same folder stopped.

    Args:
        settings: of the run.
        progress: called every `settings.every` steps with the step and the terms' means since the last call.

    Returns:
        The file of the averaged weights.

    Raises:
        BadSetting: folders without pictures.
        BadCheckpoint: files of VGG-19 that cannot be used.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    run = Run(settings)
    run.resume()
    since: list[dict[str, float]] = []
    while run.step < settings.steps:
        since.append(run.advance())
        if since and (run.step % settings.every == 0 or run.step == settings.steps):
            means = {name: float(np.mean([terms[name] for terms in since])) for name in since[0]}
            _record(settings.out, run.step, means)
            progress(run.step, means)
            since.clear()
            run.save()
    return settings.out / "weights.safetensors"


def _record(folder: Path, step: int, means: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "losses.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "time": time.time(), **means}) + "\n")

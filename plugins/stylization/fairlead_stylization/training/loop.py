"""The training run: encoder, modulator and decoder together, the encoder held to VGG-19 by distillation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from fairlead_stylization.checkpoints.vgg import read_vgg
from fairlead_stylization.networks.student import SHAPES, Student
from fairlead_stylization.training.objective import Objective, Targets
from fairlead_stylization.training.pictures import Sampler
from fairlead_stylization.training.settings import TrainingSettings

Progress = Callable[[int, dict[str, float]], None]


class Run:
    """A run's whole state: networks, optimizer, average, chance."""

    def __init__(self, settings: TrainingSettings) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.step = settings, 0
        self.student = Student(SHAPES[settings.variant]).to(memory_format=torch.channels_last)
        self._left: tuple[Tensor, Tensor, Targets] | None = None
        # Reads VGG's relu3_1 off the student's features at 1/4: what makes the encoder see as VGG does.
        self.head = nn.Conv2d(self.student.shape.channels[1], 256, 1)
        self.average = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.objective = _objective(settings)
        self.sampler = Sampler.of(settings.contents, settings.styles, settings.seed)
        self.optimizer = torch.optim.Adam([*self.student.parameters(), *self.head.parameters()], lr=settings.rate)

    def advance(self) -> dict[str, float]:
        """One step; returns the terms of its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        terms = self._terms()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.total(terms).backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _terms(self) -> dict[str, Tensor]:
        content, style, targets = self._batch()
        strength, same = draw_strengths(self.sampler.random, self.settings.batch)
        style = torch.where(same[:, None, None, None] > 0, content, style)
        targets = targets.with_itself(same)
        with torch.autocast("cpu", torch.bfloat16):
            got = self.student(content, style, strength).float()
            seen = self.head(self.student.encoder(content)[1])
        wanted = targets.near_content["relu3_1"].float()
        terms = self.objective.terms(got, targets, strength, same)
        terms["distilled"] = functional.mse_loss(seen.float(), wanted) / wanted.square().mean()
        return terms

    def _batch(self) -> tuple[Tensor, Tensor, Targets]:
        """Contents, styles and their activations; every batch serves twice, the second time paired anew."""
        if self._left is None:
            content, style = self.sampler.batch(self.settings.batch, self.settings.size)
            content = content.contiguous(memory_format=torch.channels_last)
            self._left = (content, style, self.objective.targets(content, style))
            return self._left
        (content, style, targets), self._left = self._left, None
        return content, style.roll(1, 0), targets.rolled()

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
            "head": self.head.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scales": self.objective.scales,
            "random": json.dumps(self.sampler.random.bit_generator.state),
        }
        torch.save(state, folder / "state.new")
        (folder / "state.new").replace(folder / "state.pt")
        save_file({name: value.contiguous() for name, value in self.average.items()}, folder / "weights.safetensors")

    def resume(self) -> bool:
        """Go on from the folder's state; False where there is none."""
        path = self.settings.out / "state.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.student.load_state_dict(state["student"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.average = state["step"], state["average"]
        self.objective.scales = state["scales"]
        self.sampler.random.bit_generator.state = json.loads(state["random"])
        return True


def _objective(settings: TrainingSettings) -> Objective:
    near = read_vgg(settings.vgg)
    deep = None if settings.slim is None else read_vgg(settings.slim, "relu5_1")
    for network in (near, deep):
        if network is not None:
            # bfloat16 over channels-last memory is ten times as fast on processors with matrix units.
            network.to(torch.bfloat16, memory_format=torch.channels_last).reflected = False
    return Objective(near, deep, settings.losses)


def rate_at(step: int, settings: TrainingSettings) -> float:
    """Adam's rate: a rise, then a cosine to a hundredth."""
    rise = min(1.0, (step + 1) / settings.warmup)
    fall = 0.505 + 0.495 * math.cos(math.pi * min(1.0, step / settings.steps))
    return settings.rate * rise * fall


def draw_strengths(random: np.random.Generator, batch: int) -> tuple[Tensor, Tensor]:
    """(strengths, where the style is the content): half of a batch at full strength, its last picture perhaps by itself."""
    strength = np.ones(batch, np.float32)
    strength[batch // 2 :] = random.random(batch - batch // 2)
    same = np.zeros(batch, np.float32)
    if random.random() < 0.5:
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
        if run.step % settings.every == 0 or run.step == settings.steps:
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

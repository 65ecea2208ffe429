"""The training loop: AdamW, gradient clipping, validation, checkpoints and a log of JSON lines."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from .batches import Batches, windows
from .evaluate import Score, evaluate
from .hardware import hardware
from .model import LlamaDrelu
from .objective import Objective, arithmetic, pick_device
from .optimizers import optimizers
from .schedule import learning_rate, progress
from .shape import ModelShape
from .task_batches import TaskBatches
from .task_scores import TaskScore, mean_loss, score_tasks
from .tasks import Document, Tasks, held_out


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a run trains; `limit_s` and `steps` end it, whichever comes first.

    Over the first `fade` of the run a model that was SwiGLU turns into the dReLU one that is validated.
    """

    batch: int = 8
    peak_rate: float = 2e-3
    floor_rate: float = 2e-5
    weight_decay: float = 0.1
    clip: float = 1.0
    gate_l1: float = 0.0
    gate_skew: float = 0.0
    steps: int | None = None
    limit_s: float | None = None
    validate_every_s: float = 120.0
    validate_every: int | None = None
    validation_windows: int = 64
    patience: int = 8
    seed: int = 0
    bf16: bool = False
    fade: float = 0.0
    optimizer: str = "adamw"
    dropout: float = 0.0
    device: str = "cpu"
    compile: bool = False
    started_from: str | None = None
    tasks: tuple[str, ...] = ()
    task_documents: int = 4

    def __post_init__(self) -> None:
        """Refuse a run without an end."""
        if self.steps is None and self.limit_s is None:
            raise ValueError("give a number of steps, a time limit, or both")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}: accepted: 0 to below 1")
        if not 0 <= self.gate_skew < 1:
            raise ValueError(f"gate_skew = {self.gate_skew}: accepted: 0 to below 1")


@dataclass(slots=True)
class Progress:
    """How far a run is; saved with each checkpoint."""

    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    best_loss: float = math.inf
    stale: int = 0


class Loop:
    """Trains one model in one run directory: `log.jsonl`, `last.pt` to resume from, `best.pt` to export."""

    def __init__(
        self,
        shape: ModelShape,
        recipe: Recipe,
        train: np.ndarray,
        validation: np.ndarray,
        directory: Path,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.shape, self.recipe, self.directory = shape, recipe, directory
        self.device = pick_device(recipe.device)
        self.model = LlamaDrelu(shape, recipe.dropout).to(self.device)
        penalty = {"gate_l1": recipe.gate_l1, "gate_skew": recipe.gate_skew}
        objective = Objective(self.model, **penalty, some_ignored=bool(recipe.tasks)).to(self.device)
        self._objective = torch.compile(objective) if recipe.compile else objective
        self.optimizers = optimizers(self.model, recipe)
        self.batches = self._batches(train, tokenizer)
        self._documents = self._held_out(validation, tokenizer)
        self.validation = windows(validation, shape.context, recipe.validation_windows)
        self.progress = Progress()
        self._losses: list[torch.Tensor] = []
        directory.mkdir(parents=True, exist_ok=True)

    def _batches(self, train: np.ndarray, tokenizer: Tokenizer | None) -> Batches | TaskBatches:
        recipe, context = self.recipe, self.shape.context
        if not recipe.tasks:
            return Batches(train, context, recipe.batch, recipe.seed)
        return TaskBatches(_tasks(tokenizer, train), recipe.tasks, context, recipe.batch, recipe.seed)

    def _held_out(self, validation: np.ndarray, tokenizer: Tokenizer | None) -> dict[str, list[Document]]:
        if not self.recipe.tasks:
            return {}
        written = _tasks(tokenizer, validation)
        return held_out(written, self.recipe.tasks, self.shape.context + 1, self.recipe.task_documents, seed=1)

    def run(self) -> Progress:
        """Train until a limit is reached or validation has not improved `patience` times in a row."""
        self.model.train()
        started, before = time.monotonic(), self.progress.elapsed_s
        checked_s, checked_tokens = before, self.progress.tokens
        while self.fraction < 1.0 and self.progress.stale < self.recipe.patience:
            self._losses.append(self._step())
            now = self.progress.elapsed_s = before + time.monotonic() - started
            if not self._due(now - checked_s):
                continue
            rate = (self.progress.tokens - checked_tokens) / max(now - checked_s, 1e-9)
            self._check(rate)
            self.progress.elapsed_s = before + time.monotonic() - started
            checked_s, checked_tokens = self.progress.elapsed_s, self.progress.tokens
        return self.progress

    @property
    def fraction(self) -> float:
        """Share of the run that is done."""
        recipe, now = self.recipe, self.progress
        return progress(now.elapsed_s, recipe.limit_s, now.step, recipe.steps)

    def _due(self, since_s: float) -> bool:
        every = self.recipe.validate_every
        by_steps = every is not None and self.progress.step % every == 0
        return by_steps or since_s >= self.recipe.validate_every_s or self.fraction >= 1.0

    def _step(self) -> torch.Tensor:
        rate = learning_rate(self.fraction, self.recipe.peak_rate, self.recipe.floor_rate)
        for group in self._groups():
            group["lr"] = rate
        if self.recipe.fade:
            self._mix(max(0.0, 1 - self.fraction / self.recipe.fade))
        batch = self.batches.next(self.fraction)
        tokens, targets = (torch.from_numpy(part).to(self.device, non_blocking=True) for part in batch)
        with arithmetic(self.device, self.recipe.bf16):
            minimised, loss = self._objective(tokens, targets)
        minimised.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.tokens += tokens.numel()
        # Read when it is logged: a GPU would be waited for at every step.
        return loss.detach()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _mix(self, swiglu_share: float) -> None:
        for layer in self.model.feed_forwards():
            layer.swiglu_share = swiglu_share

    def _check(self, tokens_per_s: float) -> None:
        if self.recipe.fade:
            self._mix(0.0)
        score = evaluate(self.model, self.validation, bf16=self.recipe.bf16)
        tasks = score_tasks(self.model, self._documents, self.recipe.bf16)
        loss = mean_loss(tasks) if tasks else score.loss
        improved = loss < self.progress.best_loss
        self.progress.stale = 0 if improved else self.progress.stale + 1
        self.progress.best_loss = min(loss, self.progress.best_loss)
        self._log(score, tokens_per_s, tasks)
        if improved:
            self.save("best.pt")
        self.save("last.pt")

    def _log(self, score: Score, tokens_per_s: float, tasks: dict[str, TaskScore]) -> None:
        losses, self._losses = self._losses, []
        line = {
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "epoch": self.batches.epoch,
            "elapsed_s": round(self.progress.elapsed_s, 1),
            "loss": round(float(torch.stack(losses).mean()), 4) if losses else None,
            "validation_loss": round(score.loss, 4),
            "gate_sparsity": [round(share, 4) for share in score.gate_sparsity],
            "product_sparsity": [round(share, 4) for share in score.product_sparsity],
            "tokens_per_s": round(tokens_per_s, 1),
            "learning_rate": self._groups()[0]["lr"],
        }
        if tasks:
            line["accuracy"] = {name: round(found.accuracy, 4) for name, found in tasks.items()}
            line["task_loss"] = {name: round(found.loss, 4) for name, found in tasks.items()}
        with (self.directory / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def save(self, name: str) -> None:
        """Write a checkpoint whole or not at all."""
        state: dict[str, Any] = {
            "shape": asdict(self.shape),
            "recipe": asdict(self.recipe),
            "hardware": hardware(self.device),
            "progress": asdict(self.progress),
            "position": (self.batches.epoch, self.batches.index),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.directory / f"{name}.partial"
        torch.save(state, partial)
        partial.replace(self.directory / name)

    def resume(self) -> bool:
        """Continue from `last.pt`; false where there is none. A checkpoint of another shape is refused."""
        path = self.directory / "last.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        if ModelShape(**state["shape"]) != self.shape:
            raise ValueError(f"{path} holds a model of shape {state['shape']}, not {asdict(self.shape)}")
        self.model.load_state_dict(state["model"])
        if state["recipe"].get("optimizer", "adamw") != self.recipe.optimizer:
            raise ValueError(f"{path} was trained with {state['recipe'].get('optimizer')}, not {self.recipe.optimizer}")
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.progress = Progress(**state["progress"])
        self.batches.seek(*state["position"])
        return True


def _tasks(tokenizer: Tokenizer | None, prose: np.ndarray) -> Tasks:
    if tokenizer is None:
        raise ValueError("tasks are written with the tokenizer of the run; none was given")
    return Tasks(tokenizer, prose)


def load_model(path: Path) -> tuple[LlamaDrelu, dict[str, Any]]:
    """Load the model of a checkpoint, and the rest of its state."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    model = LlamaDrelu(ModelShape(**state["shape"]))
    model.load_state_dict(state.pop("model"))
    return model.eval(), state


def best_recipe(directory: Path) -> dict[str, Any]:
    """Return the recipe of a run's best checkpoint, or of its last one; empty where there is none."""
    found = next((path for name in ("best.pt", "last.pt") if (path := directory / name).exists()), None)
    return torch.load(found, weights_only=True, map_location="cpu")["recipe"] if found else {}

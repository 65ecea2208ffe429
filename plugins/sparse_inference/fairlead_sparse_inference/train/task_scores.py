"""How many answers of tasks a model gets right, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from .model import LlamaDrelu
from .objective import arithmetic
from .tasks import Document

_Z95 = 1.96


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Answer tokens that were the likeliest, of all answer tokens, and their mean loss in nats."""

    right: int
    asked: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of answers that were right."""
        return self.right / max(1, self.asked)

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % confidence interval (Wilson 1927)."""
        return wilson(self.right, self.asked)


def wilson(right: int, asked: int, z: float = _Z95) -> tuple[float, float]:
    """Return Wilson's interval of a share; (0, 1) where nothing was asked."""
    if not asked:
        return 0.0, 1.0
    share, square = right / asked, z * z / asked
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / asked + square / (4 * asked))
    return max(0.0, middle - half), min(1.0, middle + half)


@torch.no_grad()
def score_tasks(
    model: LlamaDrelu, documents: Mapping[str, Sequence[Document]], bf16: bool = False, batch: int = 4
) -> dict[str, TaskScore]:
    """Score documents by task; leaves the model in the mode that it was in."""
    training = model.training
    model.eval()
    scores = {name: _score(model, written, bf16, batch) for name, written in documents.items()}
    model.train(training)
    return scores


def _score(model: LlamaDrelu, documents: Sequence[Document], bf16: bool, batch: int) -> TaskScore:
    device = next(model.parameters()).device
    right = asked = 0
    loss = 0.0
    for start in range(0, len(documents), batch):
        some = documents[start : start + batch]
        tokens = torch.from_numpy(np.stack([document.tokens for document in some])).to(device)
        kept = torch.from_numpy(np.stack([document.answers[1:] for document in some])).to(device)
        tokens, targets = tokens[:, :-1], tokens[:, 1:]
        with arithmetic(device, bf16):
            logits = model.head(model.hidden(tokens)[kept]).float()
        loss += float(functional.cross_entropy(logits, targets[kept], reduction="sum"))
        right += int((logits.argmax(-1) == targets[kept]).sum())
        asked += int(kept.sum())
    return TaskScore(right, asked, loss / max(1, asked))


def mean_loss(scores: Mapping[str, TaskScore]) -> float:
    """Return the mean loss of all tasks and the text, each counted alike."""
    return float(np.mean([score.loss for score in scores.values()]))

"""What a run minimises: the loss in nats a token, plus a weight times the mean activation of the gates."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from .model import LlamaDrelu

_TINY, _FLOOR = 1e-12, 0.01


class Objective(nn.Module):
    """The loss of a batch; one module, so that it is compiled as one graph where a device gains by that."""

    def __init__(
        self, model: LlamaDrelu, gate_l1: float, *, gate_skew: float = 0.0, some_ignored: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.some_ignored, self.gate_skew = some_ignored, gate_skew
        # A tensor: one compiled graph serves every weight.
        self.register_buffer("gate_l1", torch.tensor(gate_l1), persistent=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what to minimise and the loss alone, both scalars, of token ids [batch, time].

        Targets that are ignored (negative) count in no row; each row counts alike, however many it has.
        """
        loss = self._answers(tokens, targets) if self.some_ignored else self._all(tokens, targets)
        if self.some_ignored and not self.gate_l1:
            return loss, loss
        means = [layer.gate_means for layer in self.model.feed_forwards() if layer.gate_means is not None]
        return loss + self.gate_l1 * gate_penalty(torch.stack(means), self.gate_skew), loss

    def _all(self, tokens: Tensor, targets: Tensor) -> Tensor:
        logits = self.model(tokens)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def _answers(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Logits of the rows that have a target alone: they are a few of each document."""
        kept = targets >= 0
        weights = (kept / kept.sum(dim=1, keepdim=True).clamp(min=1))[kept]
        logits = self.model.head(self.model.hidden(tokens)[kept])
        losses = functional.cross_entropy(logits.float(), targets[kept], reduction="none")
        return (losses * weights).sum() / len(tokens)


def gate_penalty(means: Tensor, skew: float) -> Tensor:
    """Return what activity of the gates costs, from each neuron's mean activation [layers, neurons].

    The mean of all at skew 0. Else means count with the power 1 - skew, relative to their layer's mean: a concave sum,
    so that the same activity costs less the fewer neurons share it. A neuron that fires often is pushed down by less
    than one that fires rarely, by (layer's mean / its own)^skew. Evenly used neurons cost the same at any skew.
    """
    if not skew:
        return means.mean()
    level = means.mean(dim=1, keepdim=True).detach() + _TINY
    # Not steeper for neurons that fire less than a hundredth of the mean: a dead one has no slope.
    return (level**skew * ((means + _FLOOR * level) ** (1 - skew)) / (1 + _FLOOR) ** (1 - skew)).mean()


def arithmetic(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager[object]:
    """Return the context in which matrix products run in bfloat16, or as they are."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()


def pick_device(asked: str) -> torch.device:
    """Return the device by its name; "auto" takes a GPU where PyTorch sees one.

    Raises:
        ValueError: the name is none that this machine has; names it and what is accepted.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda': PyTorch sees no GPU here; accepted: cpu, auto")
    return torch.device(asked)

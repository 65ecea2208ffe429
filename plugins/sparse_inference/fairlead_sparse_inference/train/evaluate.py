"""Loss, perplexity and sparsity of a model on held-out text."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional

from .model import LlamaDrelu
from .objective import arithmetic


@dataclass(frozen=True, slots=True)
class Score:
    """Mean over predicted tokens; sparsity is the share of zeros per layer, after the gate and after the product."""

    loss: float
    tokens: int
    gate_sparsity: list[float]
    product_sparsity: list[float]

    @property
    def perplexity(self) -> float:
        """Exponential of the loss in nats a token."""
        return math.exp(self.loss)

    def bits_per_byte(self, bytes_per_token: float) -> float:
        """Loss in bits a byte, which does not depend on the tokenizer."""
        return self.loss / math.log(2) / bytes_per_token

    def record(self) -> dict[str, object]:
        """Return the fields for the log."""
        return asdict(self)


@torch.no_grad()
def evaluate(model: LlamaDrelu, rows: np.ndarray, batch: int = 8, bf16: bool = False) -> Score:
    """Score windows [n, context + 1]; leaves the model in the mode that it was in."""
    training = model.training
    model.eval()
    layers = model.feed_forwards()
    losses: list[float] = []
    zeros: list[list[tuple[float, float]]] = []
    for layer in layers:
        layer.measure = True
    device = next(model.parameters()).device
    for start in range(0, len(rows), batch):
        part = torch.from_numpy(rows[start : start + batch]).to(device)
        with arithmetic(device, bf16):
            logits = model(part[:, :-1])
        loss = functional.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten())
        losses += [float(loss)] * len(part)
        zeros += [[(layer.gate_zero, layer.product_zero) for layer in layers]] * len(part)
    for layer in layers:
        layer.measure = False
    model.train(training)
    shares = np.mean(zeros, axis=0)
    return Score(float(np.mean(losses)), rows.shape[0] * (rows.shape[1] - 1), *(s.tolist() for s in shares.T))

"""The optimizers of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .model import LlamaDrelu

if TYPE_CHECKING:
    from .loop import Recipe

BETAS = (0.9, 0.95)
CHOICES = ("adamw", "muon")


def optimizers(model: LlamaDrelu, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return what updates the model's parameters, under one learning rate.

    "adamw" for all; or "muon" for the matrices inside the layers (Jordan et al. 2024: the momentum is orthogonalised by
    Newton-Schulz steps), its updates scaled to the size of AdamW's (Moonlight, equation 4), and AdamW for the rest.

    Raises:
        ValueError: the recipe names another optimizer.
    """
    if recipe.optimizer not in CHOICES:
        raise ValueError(f"optimizer = {recipe.optimizer!r}: accepted: {', '.join(CHOICES)}")
    inner = [p for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name]
    outer = [p for name, p in model.named_parameters() if p.dim() == 2 and ".layers." not in name]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    decay, rate = recipe.weight_decay, recipe.peak_rate
    chosen: list[torch.optim.Optimizer] = []
    if recipe.optimizer == "muon":
        chosen.append(torch.optim.Muon(inner, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    else:
        outer = [*outer, *inner]
    groups = [{"params": outer, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    chosen.append(torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True))
    return chosen

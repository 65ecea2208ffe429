"""The same fit in PyTorch, on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from .examples import Examples
from .fit import Recipe, batches, mean_add, weights_of
from .network import Predictor


def fit_torch(start: Predictor, data: Examples, recipe: Recipe) -> Predictor:
    """Train with PyTorch's AdamW."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parameters = [torch.tensor(value, device=device, requires_grad=True) for value in (start.a, start.b, start.bias)]
    a, b, bias = parameters
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.weight_decay)
    mean = mean_add(data)
    for rate, rows in batches(len(data.inputs), recipe):
        optimizer.param_groups[0]["lr"] = rate
        adds = data.adds[rows]
        weights = torch.from_numpy(weights_of(adds, mean, recipe.positive_weight)).to(device)
        wanted = torch.from_numpy((adds > 0).astype(np.float32)).to(device)
        x = torch.from_numpy(data.inputs[rows]).to(device)
        scores = functional.relu(x @ a.T) @ b.T + bias
        functional.binary_cross_entropy_with_logits(scores, wanted, weights).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return Predictor(*(parameter.detach().cpu().numpy() for parameter in parameters))

"""How a mixture chooses its experts, in NumPy: what the native MixtureFeedForward does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.feed_forward import NetworkWeights
from fairlead_kernels.mixture import MixtureWeights
from fairlead_kernels.reference import softmax

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: Computes one network for one token: (network, x, the only neurons to compute or None) -> (y, active neurons).
Compute = Callable[[NetworkWeights, F32, I32 | None], tuple[F32, I32]]


def shares_of(mixture: MixtureWeights, x: F32) -> dict[int, np.float32]:
    """Return for one input [hidden] what each used network counts: ascending, the shared one last."""
    logits = mixture.router @ x
    shares = _sigmoid(logits) if mixture.sigmoid else softmax(logits[None])[0]
    chosen = np.sort(np.argsort(-shares, kind="stable")[: mixture.chosen])
    weights = shares[chosen] / shares[chosen].sum() if mixture.renormalize else shares[chosen]
    used = dict(zip(chosen.tolist(), weights, strict=True))
    if mixture.shared_gate is not None:
        used[len(mixture.experts)] = _sigmoid(mixture.shared_gate @ x)
    return used


def _sigmoid(x: Any) -> Any:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def compute_mixture(
    mixture: MixtureWeights, shares: dict[int, np.float32], x: F32, neurons: I32 | None, compute: Compute
) -> tuple[F32, I32]:
    """Return (y [hidden], active neurons) of one token; a list of neurons restricts the networks to theirs."""
    y, active = np.zeros_like(x), [np.empty(0, np.int32)]
    for index, share in shares.items():
        first, end = mixture.first[index : index + 2]
        own = None if neurons is None else neurons[(neurons >= first) & (neurons < end)] - np.int32(first)
        part, fired = compute(mixture.networks[index], x, own)
        y += share * part
        active.append(fired + np.int32(first))
    return y, np.concatenate(active)

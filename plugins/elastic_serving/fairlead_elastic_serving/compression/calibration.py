"""Alphas for every head of its own, from what sample prompts paid attention to.

LeanKV shares two alphas among all heads and leaves alphas by head to the future. Here each head chooses from a grid,
and all heads together keep to a number of bytes a token: what is lost is measured by the attention mass of tokens
that are pruned, and by that of tokens in a tier times the tier's error; the choice that loses least for its bytes is
found by one price of a byte for all heads (a Lagrange multiplier, by bisection).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ElasticServingError
from ..kernels.placement import WINDOW, Thresholds, place_prompt
from ..kernels.tiers import HIGH, LOW, Tiers

F32 = NDArray[np.float32]

GRID_HIGH = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 1e9)
GRID_LOW = (0.0, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0)
FORMAT = "fairlead-alphas-1"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Alphas float32 [layers, kv_heads], and what was found with them on the samples."""

    high: F32
    low: F32
    token_bytes: float
    """Of one token of one head, on average over heads, keys and values together."""
    lost: float
    """By that: attention mass on average over heads, 0 to 1; or, where losses were measured, nats a token."""

    def thresholds(self, layer: int) -> Thresholds:
        """Return a layer's thresholds."""
        return Thresholds(self.high[layer], self.low[layer])


@dataclass(frozen=True, slots=True)
class Measured:
    """Alphas, and what they come to in each head: bytes a token and loss, float64 [layers, kv_heads] each."""

    alphas: tuple[float, float]
    token_bytes: NDArray[np.float64]
    loss: NDArray[np.float64]


def calibrate(
    samples: Sequence[F32],
    tiers: Tiers,
    token_bytes: float,
    *,
    errors: tuple[float, float] = (0.005, 0.08),
    window: int = WINDOW,
) -> Calibration:
    """Choose alphas for each head.

    Args:
        samples: relative significance of prompts' tokens, float32 [layers, tokens, kv_heads] each.
        tiers: the formats.
        token_bytes: what a token of a head may take on average.
        errors: share of a token's attention mass that counts as lost in the high and in the low tier.
        window: as in placement.

    Raises:
        ValueError: no sample, or fewer bytes than the windows alone take.
    """
    if not samples:
        raise ValueError("samples: none; accepted: at least one prompt")
    choices = [pair for pair in product(GRID_HIGH, GRID_LOW) if pair[0] >= pair[1]]
    tables = [_outcomes(sample, tiers, choices, errors, window) for sample in samples]
    size = np.mean([table[0] for table in tables], axis=0)
    lost = np.mean([table[1] for table in tables], axis=0)
    if size.min(axis=0).mean() > token_bytes:
        raise ValueError(
            f"token_bytes {token_bytes:g}: accepted: {size.min(axis=0).mean():.1f} and above, what the windows take"
        )
    chosen = _cheapest(size, lost, token_bytes)
    alphas = np.array(choices, np.float32)[chosen]
    at = (chosen, *np.indices(chosen.shape))
    return Calibration(alphas[..., 0], alphas[..., 1], float(size[at].mean()), float(lost[at].mean()))


def calibrate_by_loss(
    measured: Sequence[Measured],
    shape: tuple[int, int],
    token_bytes: float,
) -> Calibration:
    """Choose alphas for each head by what was measured of it alone, every other head being kept whole.

    Args:
        measured: choices of alphas with what they come to in each head.
        shape: layers and KV heads.
        token_bytes: what a token of a head may take on average.

    Raises:
        ValueError: fewer bytes than the smallest choices take.
    """
    size = np.stack([one.token_bytes for one in measured])
    # A head that is compressed loses nothing less than one that is not: below zero is noise of the samples.
    lost = np.maximum(np.stack([one.loss for one in measured]), 0.0)
    if size.min(axis=0).mean() > token_bytes:
        raise ValueError(f"token_bytes {token_bytes:g}: accepted: {size.min(axis=0).mean():.1f} and above")
    chosen = _cheapest(size, lost, token_bytes)
    alphas = np.array([one.alphas for one in measured], np.float32)[chosen]
    at = (chosen, *np.indices(shape))
    return Calibration(alphas[..., 0], alphas[..., 1], float(size[at].mean()), float(lost[at].sum()))


def outcome(
    sample: F32, tiers: Tiers, high: F32, low: F32, errors: tuple[float, float], window: int = WINDOW
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what alphas [layers, kv_heads] come to on a sample: bytes a token and lost attention mass, by head."""
    sizes = [tiers.layout(tier).format.token_bytes(tiers.head_dim) for tier in (HIGH, LOW)]
    taken, lost = np.zeros(high.shape), np.zeros(high.shape)
    for layer, scores in enumerate(sample):
        placed = place_prompt(scores, Thresholds(high[layer], low[layer]), window)
        mass = scores / (np.arange(len(scores)) + 1)[:, None]
        mass = mass / np.maximum(mass.sum(axis=0), 1e-30)
        shares = [(placed == tier) for tier in (HIGH, LOW)]
        taken[layer] = sum(size * share.mean(axis=0) for size, share in zip(sizes, shares, strict=True))
        kept = sum((1 - error) * (mass * share).sum(axis=0) for error, share in zip(errors, shares, strict=True))
        lost[layer] = 1 - kept
    return taken, lost


def save(calibration: Calibration, path: Path, model: str) -> None:
    """Write a calibration file, whole or not at all; ``model`` is the fingerprint of the model that it is for."""
    content = {
        "format": FORMAT,
        "model": model,
        "token_bytes": calibration.token_bytes,
        "lost": calibration.lost,
        "high": calibration.high.tolist(),
        "low": calibration.low.tolist(),
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(content, indent=1) + "\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path, model: str, layers: int, kv_heads: int) -> Calibration:
    """Read a calibration file.

    Raises:
        ElasticServingError: it cannot be read, or is for another model; the error names the field.
    """
    try:
        content = json.loads(path.read_text())
        found = {name: np.asarray(content[name], np.float32) for name in ("high", "low")}
        known = (content["format"], content["model"], float(content["token_bytes"]), float(content["lost"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ElasticServingError(f"calibration {path}: {type(error).__name__}: {error}") from error
    for name, value, wanted in (
        ("format", known[0], FORMAT),
        ("model", known[1], model),
        ("high", found["high"].shape, (layers, kv_heads)),
        ("low", found["low"].shape, (layers, kv_heads)),
    ):
        if value != wanted:
            raise ElasticServingError(f"calibration {path}: {name} {value!r}; accepted: {wanted!r}")
    for name, number in (("token_bytes", known[2]), ("lost", known[3])):
        # Asked so that a NaN is refused, too.
        if not 0 <= number < float("inf"):
            raise ElasticServingError(f"calibration {path}: {name} {number}; accepted: 0 and above")
    try:
        Thresholds(found["high"], found["low"])
    except ValueError as error:
        raise ElasticServingError(f"calibration {path}: {error}") from error
    return Calibration(found["high"], found["low"], known[2], known[3])


def _outcomes(
    sample: F32, tiers: Tiers, choices: list[tuple[float, float]], errors: tuple[float, float], window: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bytes and losses of every choice: float64 [choices, layers, kv_heads] each."""
    shape = (sample.shape[0], sample.shape[2])
    found = [
        outcome(sample, tiers, *(np.full(shape, alpha, np.float32) for alpha in pair), errors, window)
        for pair in choices
    ]
    return np.stack([size for size, _ in found]), np.stack([lost for _, lost in found])


def _cheapest(size: NDArray[np.float64], lost: NDArray[np.float64], budget: float) -> NDArray[np.intp]:
    """The choice of each head at the lowest price of a byte at which all together keep to the budget."""
    # What came out as no number is never the least.
    lost = np.where(np.isnan(lost), np.inf, lost)

    def at(price: float) -> NDArray[np.intp]:
        return (lost + price * size).argmin(axis=0)

    def taken(chosen: NDArray[np.intp]) -> float:
        return float(np.take_along_axis(size, chosen[None], axis=0).mean())

    if taken(at(0.0)) <= budget:
        return at(0.0)
    low, high = 0.0, 1.0
    while taken(at(high)) > budget:
        high *= 4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if taken(at(middle)) > budget else (low, middle)
    return at(high)

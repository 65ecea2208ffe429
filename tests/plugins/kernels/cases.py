"""Random inputs, models and the list of ISAs that this machine can test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

import fairlead_kernels as fk

F32 = NDArray[np.float32]

ISAS = fk.available_isas()
each_isa = pytest.mark.parametrize(
    "isa",
    ISAS or [pytest.param("native", marks=pytest.mark.skip(reason="the compiled extension is not installed"))],
)
needs_native = pytest.mark.skipif(not ISAS, reason="the compiled extension is not installed")
each_backend = pytest.mark.parametrize("choice", ["numpy", *ISAS])


def examples(count: int, *, seeded: bool = True) -> settings:
    """Hypothesis without a clock, with a fixed seed or the profile's choice of one; a profile for slow code that asks
    for fewer examples than usual gets no more.
    """
    most, usual = settings().max_examples, settings.get_profile("patient").max_examples
    fewer = settings(max_examples=min(count, most) if most < usual else count, deadline=None)
    return settings(fewer, derandomize=True) if seeded else fewer


def floats(rng: np.random.Generator, *shape: int) -> F32:
    """Normal float32 values."""
    return rng.standard_normal(shape).astype(np.float32)


def matrix(rng: np.random.Generator, rows: int, columns: int) -> fk.Q8Matrix:
    """A Q8 matrix of normal values with variance 1 / columns; about one row in eight is all zeros."""
    values = floats(rng, rows, columns) / np.float32(columns**0.5)
    values[rng.random(rows) < 0.125] = 0
    return fk.quantize_q8(values)


def closeness(weights: F32, x: F32) -> NDArray[np.float64]:
    """How far float32 sums of weights [rows, n] times x [n] may lie apart: a few roundings of the term sizes."""
    return 1e-6 * (np.abs(weights.astype(np.float64)) @ np.abs(x.astype(np.float64))) + 1e-30


def config(activation: str = "drelu", *, vocabulary: int = 96) -> fk.DecoderConfig:
    """A small model with grouped queries."""
    return fk.DecoderConfig(vocabulary, hidden=64, heads=8, kv_heads=4, head_dim=8, activation=activation)


def layer(rng: np.random.Generator, c: fk.DecoderConfig, neurons: int) -> fk.LayerWeights:
    """Random weights of one layer without biases."""
    query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
    return fk.LayerWeights(
        attention_norm=1 + floats(rng, c.hidden) / 10,
        query=matrix(rng, query, c.hidden),
        key=matrix(rng, key, c.hidden),
        value=matrix(rng, key, c.hidden),
        output=matrix(rng, c.hidden, query),
        feed_forward_norm=1 + floats(rng, c.hidden) / 10,
        gate=matrix(rng, neurons, c.hidden),
        up=matrix(rng, neurons, c.hidden),
        down_t=matrix(rng, neurons, c.hidden),
    )


def weights(c: fk.DecoderConfig, *, layers: int = 2, neurons: int = 45, extras: bool = False) -> fk.DecoderWeights:
    """A random model; with extras it has biases, head norms and a head of its own."""
    rng = np.random.default_rng(7)
    stack = [layer(rng, c, neurons) for _ in range(layers)]
    if extras:
        query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
        stack = [
            replace(
                one,
                query_bias=floats(rng, query),
                key_bias=floats(rng, key),
                value_bias=floats(rng, key),
                query_norm=1 + floats(rng, c.head_dim) / 10,
                key_norm=1 + floats(rng, c.head_dim) / 10,
            )
            for one in stack
        ]
    embedding = matrix(rng, c.vocabulary, c.hidden)
    head = matrix(rng, c.vocabulary, c.hidden) if extras else None
    return fk.DecoderWeights(embedding, tuple(stack), 1 + floats(rng, c.hidden) / 10, head)


def arena(c: fk.DecoderConfig, *, layers: int = 2, pages: int = 12, page_size: int = 4) -> tuple[F32, F32]:
    """Empty key and value pages, filled with NaN so that a read of an unwritten slot shows."""
    shape = (layers, pages, page_size, c.kv_heads, c.head_dim)
    return np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)


def table(seed: int = 3, pages: int = 12) -> NDArray[np.int32]:
    """A shuffled page table over all pages."""
    return np.random.default_rng(seed).permutation(pages).astype(np.int32)


def packed(rng: np.random.Generator, rows: int, columns: int, bits: int) -> fk.PackedMatrix:
    """A packed matrix of normal values with variance 1 / columns; about one row in eight is all zeros."""
    values = floats(rng, rows, columns) / np.float32(columns**0.5)
    values[rng.random(rows) < 0.125] = 0
    return fk.pack(values, bits)


def bundled(*matrices: fk.PackedMatrix) -> tuple[fk.PackedMatrix, ...]:
    """The same matrices as views of one array of bundles that starts at an odd address."""
    rows, widths = matrices[0].shape[0], [m.data.shape[1] for m in matrices]
    room = np.empty(rows * sum(widths) + 1, np.uint8)[1:].reshape(rows, sum(widths))
    views, at = [], 0
    for m, width in zip(matrices, widths, strict=True):
        room[:, at : at + width] = m.data
        views.append(fk.PackedMatrix(room[:, at : at + width], m.columns, m.bits))
        at += width
    return tuple(views)

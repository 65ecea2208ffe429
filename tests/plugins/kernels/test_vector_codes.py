"""Rotations and leading codes: inner products are kept, NumPy and native agree, estimates are near the distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import vectors
from fairlead_kernels.vector_codes import Kind, LeadingCodes, Rotation
from tests.plugins.kernels.cases import each_isa, examples

F32 = vectors.F32


def decaying(random: np.random.Generator, count: int, dim: int) -> F32:
    """Vectors of which a few directions, turned somehow, hold most."""
    turn = np.linalg.qr(random.standard_normal((dim, dim)))[0]
    return ((random.standard_normal((count, dim)) * np.geomspace(3, 0.1, dim)) @ turn + 0.7).astype(np.float32)


@examples(25)
@given(
    dim=st.integers(2, 150),
    kind=st.sampled_from(["pca", "random", "identity"]),
    part=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_rotation_keeps_inner_products(dim: int, kind: Kind, part: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = decaying(random, 30, dim)
    rotation = Rotation.train(x, kind, lead=max(1, int(part * dim)), seed=seed)
    y = rotation.apply(x)
    assert y.shape == (30, rotation.lead + dim)
    centred = x - rotation.mean
    assert np.allclose(y @ y.T, centred @ centred.T, rtol=1e-4, atol=2e-4 * np.square(centred).sum(1).max())
    saved = Rotation(**rotation.arrays())
    assert np.array_equal(saved.apply(x), y)


def test_leading_coordinates_hold_most_of_the_variance() -> None:
    x = decaying(np.random.default_rng(1), 500, 60)
    rotation = Rotation.train(x, "pca", lead=20)
    y = rotation.apply(x)
    assert np.square(y[:, :20]).sum() > 0.85 * np.square(y).sum()
    assert np.isclose(rotation.spectrum[:20].sum(), np.square(y[:, :20]).sum(1).mean(), rtol=1e-3)


@each_isa
@examples(10)
@given(
    element=st.sampled_from(["float32", "float16", "bfloat16", "int8", "uint8"]),
    metric=st.sampled_from(vectors.METRICS),
    dim=st.integers(1, 200),
    part=st.floats(0, 1),
    fine=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_leading_codes(
    isa: str, element: vectors.Element, metric: vectors.Metric, dim: int, part: float, fine: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    space = vectors.Space(element, metric, dim)
    raw = decaying(random, 40, dim) * 20
    if element in ("int8", "uint8"):
        limits = np.iinfo(space.dtype)
        raw = np.clip(np.rint(raw), limits.min, limits.max).astype(space.dtype)
    elif element == "float16":
        raw = raw.astype(np.float16)
    x = vectors.check_vectors(raw, dim, element)
    codes = LeadingCodes.train(x, space, dim)
    lead = max(1, int(part * dim))
    fk.select("numpy")
    expected, rows = codes.distances(x[:3], codes.encode(x), lead=lead, fine=fine), codes.encode(x)
    fk.select(isa)
    encoded = codes.encode(x)
    assert np.abs(encoded[:, 4:].astype(int) - rows[:, 4:]).max() <= 1, "a rounding at most"
    found = codes.distances(x[:3], encoded, lead=lead, fine=fine)
    exact = vectors.distances(space, x[:3], x)
    assert np.allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(exact).max())
    assert np.allclose(
        codes.distances(x[:3], rows, lead=lead, fine=fine), expected, rtol=1e-3, atol=1e-3 * np.abs(exact).max()
    )
    assert np.allclose(codes.distances(x[:3], encoded, fine=True), exact, rtol=0.03, atol=0.03 * np.abs(exact).max())
    ids = random.integers(0, 40, 13).astype(np.uint32)
    assert np.array_equal(codes.distances(x[:3], encoded, ids, lead=lead, fine=fine), found[:, ids])


def test_what_cannot_be_coded_is_refused() -> None:
    x = np.ones((4, 8), np.float32)
    with pytest.raises(vectors.VectorError, match="bits have no leading codes"):
        LeadingCodes.train(np.zeros((4, 1), np.uint8), vectors.Space("bit", "l2", 8), 8)
    with pytest.raises(vectors.VectorError, match=r"lead: must be 1\.\.8, got 9"):
        LeadingCodes.train(x, vectors.Space("float32", "l2", 8), 9)
    with pytest.raises(vectors.VectorError, match="kind: must be one of pca, random, identity, got 'fht'"):
        Rotation.train(x, "fht")  # type: ignore[arg-type]
    codes = LeadingCodes.train(x, vectors.Space("float32", "l2", 8), 4)
    with pytest.raises(vectors.VectorError, match=r"lead: must be 1\.\.4, got 5"):
        codes.distances(x, codes.encode(x), lead=5)

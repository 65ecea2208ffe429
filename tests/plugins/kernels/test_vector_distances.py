"""Distances of all elements and metrics against NumPy, on every ISA of this machine, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fairlead_kernels as fk
from fairlead_kernels import reference_vectors, vectors
from tests.plugins.kernels.cases import each_isa, examples


def random_vectors(random: np.random.Generator, space: vectors.Space, count: int) -> NDArray[Any]:
    """Vectors of the space, among them a zero one."""
    if space.element in ("int8", "uint8"):
        limits = np.iinfo(space.dtype)
        rows = random.integers(limits.min, limits.max, (count, space.dim), endpoint=True).astype(space.dtype)
    elif space.element == "bit":
        rows = random.random((count, space.dim)) < 0.4
    else:
        rows = random.normal(0, 1, (count, space.dim)).astype(np.float16 if space.element == "float16" else np.float32)
    rows[count // 2] = 0
    return vectors.check_vectors(rows, space.dim, space.element)


@each_isa
@examples(40)
@given(
    element=st.sampled_from(vectors.ELEMENTS),
    metric=st.sampled_from(vectors.METRICS),
    dim=st.one_of(st.integers(1, 140), st.sampled_from([384, 784])),
    threads=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_distances(
    isa: str, element: vectors.Element, metric: vectors.Metric, dim: int, threads: int, seed: int
) -> None:
    fk.select(isa)
    fk.set_threads(threads)
    random = np.random.default_rng(seed)
    space = vectors.Space(element, metric, dim)
    stored, queries = random_vectors(random, space, 7), random_vectors(random, space, 3)
    expected = reference_vectors.distances(space, queries, stored)
    found = vectors.distances(space, queries, stored)
    exact = element in ("int8", "uint8", "bit") and metric != "cosine"
    if exact:
        assert np.array_equal(found, expected)
    else:
        assert np.allclose(found, expected, rtol=1e-5, atol=2e-6 * dim)
    ids = random.integers(0, 7, 12).astype(np.uint32)
    assert np.array_equal(vectors.distances(space, queries, stored, ids), found[:, ids])
    fk.select("numpy")
    assert np.array_equal(vectors.distances(space, queries, stored), expected)


def test_checked_vectors_are_converted_only_where_it_is_lossless_or_asked_for() -> None:
    assert vectors.check_vectors([[1.0, 2.0]], 2, "float32").dtype == np.float32
    assert vectors.check_vectors(np.float32([1, -2]), 2, "bfloat16").tolist() == [[0x3F80, 0xC000]]
    assert vectors.check_vectors(np.array([[True] * 9]), 9, "bit").tolist() == [[255, 1]]
    with pytest.raises(vectors.VectorError, match=r"must be uint8 for element uint8, got int64"):
        vectors.check_vectors(np.array([[1, 2]]), 2, "uint8")


@pytest.mark.parametrize("element", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(element: vectors.Element, value: float) -> None:
    rows = np.ones((5, 3), np.float16 if element == "float16" else np.float32)
    rows[3, 2] = value
    with pytest.raises(vectors.VectorError, match=rf"vectors\[3\]: element 2 is {value}; accepted: finite numbers"):
        vectors.check_vectors(rows, 3, element)


def test_wrong_shapes_and_spaces_are_refused() -> None:
    with pytest.raises(vectors.VectorError, match=r"queries: must be \[n, 4\] float32, got \[2, 3\]"):
        vectors.check_vectors(np.zeros((2, 3), np.float32), 4, "float32", name="queries")
    with pytest.raises(vectors.VectorError, match="metric: must be one of l2, dot, cosine, got 'l1'"):
        vectors.Space("float32", "l1", 4)  # type: ignore[arg-type]
    with pytest.raises(vectors.VectorError, match=r"dim: must be 1\.\.32768, got 0"):
        vectors.Space("float32", "l2", 0)
    with pytest.raises(vectors.VectorError, match="bits beyond the 9 accepted"):
        vectors.check_vectors(np.array([[255, 2]], np.uint8), 9, "bit")
    space = vectors.Space("float32", "l2", 2)
    rows = np.zeros((3, 2), np.float32)
    if fk.available_isas():
        with pytest.raises(IndexError, match=r"ids\[1\]: 3 is outside 0\.\.2"):
            vectors.distances(space, rows, rows, np.array([0, 3], np.uint32))

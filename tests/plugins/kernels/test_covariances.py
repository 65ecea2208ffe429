"""Least maps: the native way and its reference agree, on every ISA; what is wanted is reached."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kernels import reference_covariances
from fairlead_kernels.backend import extension
from fairlead_kernels.covariances import least_map
from tests.plugins.kernels.cases import examples

RIDGE = 0.01, 1e-6


def covariance(rng: np.random.Generator, size: int, samples: int, level: float = 1.0) -> np.ndarray:
    """Of fewer samples than channels: some directions have no variance."""
    mix = rng.standard_normal((size, size)) * np.exp(rng.standard_normal(size))
    return (
        (level * np.cov(mix @ rng.standard_normal((size, samples)), bias=True)).reshape(size, size).astype(np.float32)
    )


@pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native maps are not tested")
@examples(40, seeded=False)
@given(st.integers(1, 70), st.integers(2, 200), st.sampled_from([1e-6, 1.0, 1e4]), st.integers(0, 2**31))
def test_native_is_the_reference(size: int, samples: int, level: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own, wanted = covariance(rng, size, samples, level), covariance(rng, size, samples)
    expected = np.empty((size, size))
    reference_covariances.least_map(own, wanted, *RIDGE, expected)
    np.testing.assert_allclose(least_map(own, wanted, *RIDGE), expected, atol=1e-6 * np.abs(expected).max())


def test_covariances_become_what_is_wanted(each_isa: str) -> None:
    rng = np.random.default_rng(5)
    own, wanted = covariance(rng, 48, 4000), covariance(rng, 48, 4000)
    found = least_map(own, wanted, 0.0, 1e-6)
    np.testing.assert_allclose(found @ own @ found.T, wanted, atol=1e-3 * wanted.max())
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(least_map(own, own, *RIDGE), np.eye(48), atol=1e-7)


def test_nothing_becomes_something() -> None:
    nothing = np.zeros((3, 3), np.float32)
    found = least_map(nothing, np.eye(3, dtype=np.float32), 0.01, 1e-6)
    np.testing.assert_allclose(found, np.eye(3) * (1.010001 / 1e-6) ** 0.5, rtol=1e-6)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[C, C\] twice"):
        least_map(np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32), *RIDGE)

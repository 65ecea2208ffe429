"""What a sample says is true of data that were made to be so."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fairlead_tiered_retrieval.advisor.costs import in_doubt
from fairlead_tiered_retrieval.advisor.sampling import look, spectrum
from fairlead_tiered_retrieval.errors import TieredRetrievalError


def plane(count: int, local: int, dim: int, seed: int = 3) -> np.ndarray:
    """Rows that lie in a plane of so many dimensions."""
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, local)) @ random.standard_normal((local, dim))).astype(np.float32)


@pytest.mark.parametrize("local", [2, 5])
def test_the_local_dimension_is_that_of_the_plane_and_not_of_the_space(local: int) -> None:
    assert look(plane(3000, local, 64)).local_dim == pytest.approx(local, rel=0.2)


def test_data_of_more_dimensions_leave_more_vectors_in_doubt() -> None:
    low, high = look(plane(2000, 3, 64)), look(plane(2000, 30, 64))
    assert high.local_dim > low.local_dim
    assert high.probes > low.probes
    assert in_doubt(high, 4, 0.95) > in_doubt(low, 4, 0.95)


def test_closure_helps_where_neighbours_lie_across_borders_and_not_where_clusters_lie_apart() -> None:
    spread = look(np.random.default_rng(3).standard_normal((4300, 24)).astype(np.float32))
    assert 0.1 < spread.further <= 1 and spread.closes
    random = np.random.default_rng(5)
    centres = 20 * random.standard_normal((40, 32))
    apart = look((centres[random.integers(40, size=3000)] + random.standard_normal((3000, 32))).astype(np.float32))
    assert apart.closed >= 0.95 and not apart.closes


def test_shapes_name_the_vectors_as_they_are() -> None:
    rows = np.random.default_rng(1).integers(0, 255, (500, 48), np.uint8)
    shape = look(rows, count=10**9)
    assert (shape.count, shape.dim, shape.vector_bytes) == (10**9, 48, 48)
    assert look(rows) == look(rows)


def test_a_spectrum_falls_and_sums_to_one() -> None:
    shares = spectrum(plane(500, 4, 32))
    assert shares[:4].sum() == pytest.approx(1)
    assert (np.diff(shares) <= 1e-12).all()


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(TieredRetrievalError, match="accepted"):
        look(np.zeros((3, 8), np.float32))


def test_costs_and_advice_import_no_numpy() -> None:
    code = (
        "import sys, fairlead_tiered_retrieval.advisor.advice; "
        "sys.exit(any(name.split('.')[0] == 'numpy' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

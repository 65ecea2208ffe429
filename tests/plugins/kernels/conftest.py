"""Every test leaves the backend and the thread count as it found them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fairlead_kernels as fk
from fairlead_kernels.backend import available_isas, backend, select


@pytest.fixture(autouse=True)
def restore_backend() -> Iterator[None]:
    """Put the automatic backend and one thread back."""
    yield
    fk.select()
    fk.set_threads(1)


@pytest.fixture(params=[*available_isas(), "numpy"])
def each_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each set of instructions that runs here, and NumPy."""
    before = backend()
    select(request.param)
    yield request.param
    select(before.isa if before.name == "native" else "numpy")

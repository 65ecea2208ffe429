"""Every test leaves the backend and the thread count as it found them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fairlead_kernels as fk


@pytest.fixture(autouse=True)
def restore_backend() -> Iterator[None]:
    """Put the automatic backend and one thread back."""
    yield
    fk.select()
    fk.set_threads(1)

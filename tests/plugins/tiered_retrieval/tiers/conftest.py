"""A node that tests share, and the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fairlead_kernels as fk

from .nodes import TOKEN, Node


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients know the token."""
    monkeypatch.setenv("FAIRLEAD_MEMORY_TOKEN", TOKEN)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A node with shared memory; nobody may kill it."""
    if not fk.available_isas():
        pytest.skip("no compiled kernels")
    running = Node("--shared", "--lease", "30")
    yield running
    running.end()

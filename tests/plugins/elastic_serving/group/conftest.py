"""A small model for groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.plugins.elastic_serving.random_models import RandomModel


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices so small are computed fastest by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> RandomModel:
    """A small Llama with random weights."""
    return RandomModel("llama", tmp_path_factory.mktemp("llama"))

"""Whether an index enters vectors in further lists: by data, and by the memory that there is."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_kernels.backend import extension
from fairlead_kernels.vector_lists import train_lists
from fairlead_kernels.vectors import Space as KernelSpace
from fairlead_tiered_retrieval.lists.closing import as_asked_for, closing
from fairlead_tiered_retrieval.space import Space

pytestmark = pytest.mark.skipif(extension() is None, reason="the compiled extension is not installed")

DIM, LISTS, SIZE = 24, 40, 50


def chosen(rows: np.ndarray, spare: float = np.inf):
    training = train_lists(KernelSpace("float32", "l2", DIM), rows, LISTS, code_bytes=24)
    return closing(Space("float32", "l2", DIM), training, rows, SIZE, spare)


@pytest.fixture(scope="module")
def spread() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (2000, DIM)).astype(np.float32)


def test_vectors_without_clusters_have_further_lists(spread):
    found = chosen(spread)
    assert found.closure.copies == 1 and found.closure.room == 2 * SIZE
    assert "lists by its codes" in found.reason and "less is scanned" in found.reason


def test_vectors_in_clusters_have_one_list():
    random = np.random.default_rng(2)
    centres = random.normal(0, 10, (LISTS, DIM))
    rows = (centres[random.integers(LISTS, size=2000)] + random.normal(0, 0.1, (2000, DIM))).astype(np.float32)
    found = chosen(rows)
    assert found.closure.copies == 0 and found.reason.startswith("each vector in one list")


def test_copies_need_their_memory(spread):
    found = chosen(spread, spare=0.5)
    assert found.closure.copies == 0 and "would not fit" in found.reason
    assert as_asked_for(0, SIZE).closure.copies == 0 and as_asked_for(3, SIZE).closure.copies == 3


def test_codes_of_many_dimensions_stay_below_their_share():
    rows = np.random.default_rng(4).normal(0, 1, (1200, 256)).astype(np.float32)
    rows *= 2.0 ** (-np.arange(256) / 6)  # of which few matter, so that there would be many copies
    space = KernelSpace("float32", "l2", 256)
    training = train_lists(space, rows, 30, code_bytes=0.079 * 4 * 256 - 16)
    assert closing(Space("float32", "l2", 256), training, rows, 40).closure.copies == 0


def test_few_vectors_have_one_list(spread):
    assert chosen(spread[:150]).closure.copies == 0

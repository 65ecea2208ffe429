"""Memory for weights: arrays that do not overlap, and that are gone when nobody needs them."""

from __future__ import annotations

import gc
import mmap
import weakref

import numpy as np
import pytest

from fairlead_kernels.weight_memory import WeightMemory


@pytest.mark.parametrize("piece_bytes", [1 << 12, 64 << 20])
def test_arrays_keep_what_was_written_into_them(piece_bytes: int) -> None:
    rng, memory = np.random.default_rng(1), WeightMemory(piece_bytes)
    wanted = [
        rng.integers(0, 256, (int(rng.integers(1, 40)), int(rng.integers(1, 400))), dtype=np.uint8) for _ in range(60)
    ]
    copies = [memory.copy(array) for array in wanted]
    for array, copied in zip(wanted, copies, strict=True):
        np.testing.assert_array_equal(copied, array)
        assert copied.ctypes.data % 64 == 0


def test_new_arrays_are_zero() -> None:
    assert not WeightMemory().empty(7, 999).any()


def test_a_piece_is_given_back_with_its_last_array() -> None:
    memory = WeightMemory(1 << 12)
    first = memory.empty(3000)
    assert first.base is not None
    piece = weakref.ref(first.base)
    second = memory.empty(3000)
    del first
    gc.collect()
    assert piece() is None
    assert second.shape == (3000,)


def test_a_kernel_without_huge_pages_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Refuses)
    assert WeightMemory().copy(np.arange(9, dtype=np.uint8)).tolist() == list(range(9))

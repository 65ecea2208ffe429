"""Memory for weights: arrays that do not overlap, and that are gone when nobody needs them."""

from __future__ import annotations

import gc
import mmap
import os
import re
import weakref
from pathlib import Path

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


@pytest.mark.skipif("FAIRLEAD_TEST_EMULATED" in os.environ, reason="an emulator tells no flags of its mappings")
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_huge_pages_are_asked_for_memory_that_may_have_them() -> None:
    array = WeightMemory().copy(np.ones(8 << 20, np.uint8))
    flags = _flags(array.ctypes.data)
    assert "hg" in flags, "huge pages were not asked for"
    assert "sh" not in flags, "shared memory has huge pages only where the system was told so"


def _flags(address: int) -> list[str]:
    """The kernel's flags of the mapping that holds an address (proc(5), VmFlags)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise AssertionError(f"no mapping holds {address:#x}")

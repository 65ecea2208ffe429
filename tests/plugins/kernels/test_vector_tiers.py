"""Tiers: what is read is what lies there, whatever carries the reads; faults are one error that names the region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import vector_tiers as vt
from tests.plugins.kernels.cases import examples

SIZE = 300_001  # no multiple of a block

CONTENT = np.random.default_rng(5).integers(0, 256, SIZE, np.uint8)
FILES: dict[str, dict[str, Any]] = {
    "io_uring": {},
    "deep": {"depth": 4},
    "pread": {"uring": False, "threads": 3},
    "direct": {"direct": True},
    "direct-pread": {"direct": True, "uring": False},
}
BACKENDS = ["numpy", "native"] if fk.available_isas() else ["numpy"]
native_only = pytest.mark.skipif("native" not in BACKENDS, reason="no compiled kernels")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiers") / "region"
    path.write_bytes(CONTENT.tobytes())
    return path


def memory_tier() -> vt.Tier:
    memory = vt.tier_memory(SIZE)
    memory.array()[:] = CONTENT
    return vt.memory_tier("dram:", memory)


def open_tier(way: str, file: Path) -> vt.Tier:
    if way == "numpy":
        fk.select("numpy")
        return vt.file_tier(f"file:{file}", file)
    if way in ("dram", "numpy-dram"):
        fk.select("numpy" if way == "numpy-dram" else None)
        return memory_tier()
    try:
        return vt.file_tier(f"file:{file}", file, **FILES[way])
    except vt.TierLost as error:
        pytest.skip(f"no O_DIRECT here: {error}")


WAYS = ["numpy", "numpy-dram", *(["dram", *FILES] if "native" in BACKENDS else [])]
ranges = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 40_000)), max_size=40)


@pytest.mark.parametrize("way", WAYS)
def test_any_ranges_read_what_lies_there(way: str, file: Path) -> None:
    tier = open_tier(way, file)
    assert (tier.size, tier.direct) == (SIZE, "dram" in way)

    @examples(25, seeded=False)
    @given(ranges)
    def check(wanted: list[tuple[int, int]]) -> None:
        places = [(offset, min(length, SIZE - offset)) for offset, length in wanted]
        got = vt.read_batch(tier, [at for at, _ in places], np.array([size for _, size in places], np.uint32))
        expected = [CONTENT[at : at + size] for at, size in places]
        np.testing.assert_array_equal(got, np.concatenate(expected) if expected else np.empty(0, np.uint8))

    check()
    batches, reads, count = tier.counters
    assert batches >= 1
    assert reads >= batches - 1
    assert count > 0


@pytest.mark.parametrize("way", WAYS)
def test_ranges_that_leave_the_region_are_refused(way: str, file: Path) -> None:
    tier = open_tier(way, file)
    for offset, length in ((SIZE, 1), (0, SIZE + 1), (2**63, 8), (SIZE - 4, 5)):
        with pytest.raises(IndexError, match=f"{tier.url}.* leave the region of {SIZE} bytes"):
            vt.read_batch(tier, [0, offset], [1, length], np.empty(SIZE + 10, np.uint8))
    with pytest.raises(ValueError, match="out: is smaller"):
        vt.read_batch(tier, [0, 8], 8, np.empty(15, np.uint8))
    np.testing.assert_array_equal(vt.read_batch(tier, [7], 9), CONTENT[7:16])


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_is_read(way: str, file: Path, tmp_path: Path) -> None:
    own = tmp_path / "region"
    own.write_bytes(file.read_bytes())
    tier = open_tier(way, own)
    expected = CONTENT.copy()
    random = np.random.default_rng(6)
    for _ in range(20):
        length = int(random.integers(1, 9000))
        at = int(random.integers(0, SIZE - length))
        expected[at : at + length] = random.integers(0, 256, length)
        tier.write(at, expected[at : at + length])
        np.testing.assert_array_equal(vt.read_batch(tier, [max(at - 50, 0)], 50), expected[max(at - 50, 0) :][:50])
        np.testing.assert_array_equal(vt.read_batch(tier, [at], length), expected[at : at + length])
    np.testing.assert_array_equal(vt.read_batch(tier, [0], SIZE), expected)


@pytest.mark.parametrize("way", ["numpy", *(["io_uring", "pread", "direct"] if "native" in BACKENDS else [])])
def test_bad_blocks_fail_their_batch_alone(way: str, file: Path) -> None:
    fk.select("numpy" if way == "numpy" else None)
    options = {} if way == "numpy" else FILES[way]
    tier = vt.file_tier("file:region", file, broken=[(100_000, 100_001)], **options)
    for _ in range(2):
        with pytest.raises(vt.TierLost, match=r"file:region: .*offset 99000 cannot be read: Input/output") as caught:
            vt.read_batch(tier, [5, 99_000, 200_000], 2000)
        assert caught.value.url == "file:region"
        np.testing.assert_array_equal(vt.read_batch(tier, [200_000], 2000), CONTENT[200_000:202_000])


@pytest.mark.parametrize("way", ["numpy", *(FILES if "native" in BACKENDS else [])])
def test_a_file_that_was_cut_is_an_error(way: str, file: Path, tmp_path: Path) -> None:
    own = tmp_path / "region"
    own.write_bytes(file.read_bytes())
    tier = open_tier(way, own)
    with own.open("r+b") as cut:
        cut.truncate(50_000)
    with pytest.raises(vt.TierLost, match="the file ends before them"):
        vt.read_batch(tier, [0, 60_000], 100)
    np.testing.assert_array_equal(vt.read_batch(tier, [49_000], 1000), CONTENT[49_000:50_000])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_file_is_refused(backend: str, tmp_path: Path) -> None:
    fk.select(backend)
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(vt.TierLost, match=f"file:x: {path}: "):
            vt.file_tier("file:x", path)


@native_only
def test_options_out_of_range_are_refused(file: Path) -> None:
    bad: list[Callable[[], vt.Tier]] = [
        lambda: vt.file_tier("file:x", file, depth=0),
        lambda: vt.file_tier("file:x", file, threads=1000, uring=False),
        lambda: vt.file_tier("file:x", file, timeout=0),
    ]
    for make in bad:
        with pytest.raises(ValueError, match="file:x: "):
            make()


@native_only
def test_many_batches_in_flight_are_measured(file: Path) -> None:
    tier: Any = vt.file_tier("file:x", file, depth=8)
    offsets = np.random.default_rng(7).integers(0, SIZE - 512, 240).astype(np.uint64)
    latencies = np.empty(60)
    elapsed = tier.measure(offsets, 512, 4, 5, latencies)
    assert tier.counters == (60, 240, 240 * 512)
    assert 0 < latencies.min() <= latencies.max() <= elapsed

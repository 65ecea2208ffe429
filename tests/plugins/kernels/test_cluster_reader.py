"""Reading blocks of a file: what comes is what lies there, and every fault is one error that names the place."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead_kernels.backend import extension

from .cases import examples, needs_native

pytestmark = needs_native

BLOCK, BLOCKS, DEPTH = 4096, 40, 8
WAYS = [{"uring": True}, {"uring": False, "threads": 3}]
ways = pytest.mark.parametrize("way", WAYS, ids=["io_uring", "pread"])


def aligned(size: int) -> NDArray[np.uint8]:
    """Memory that starts at a block's boundary."""
    raw = np.zeros(size + BLOCK, np.uint8)
    start = -raw.ctypes.data % BLOCK
    return raw[start : start + size]


@pytest.fixture(scope="module")
def content() -> bytes:
    """Bytes that differ from block to block."""
    return np.random.default_rng(5).integers(0, 256, BLOCK * BLOCKS, dtype=np.uint8).tobytes()


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> Path:
    """A file of whole blocks."""
    path = tmp_path / "neurons.bin"
    path.write_bytes(content)
    return path


def reader(path: Path, buffer: NDArray[np.uint8], **options: Any) -> Any:
    """A reader of small depth."""
    return extension().ClusterReader(str(path), buffer, depth=DEPTH, **options)


def fetch(source: Any, reads: list[tuple[int, int]]) -> None:
    """Read (block, blocks) pairs, each into its own eighth of the buffer of DEPTH * 4 blocks."""
    source.submit([(b * BLOCK, n * BLOCK, tag, tag * 4 * BLOCK) for tag, (b, n) in enumerate(reads)])
    finished: list[int] = []
    while len(finished) < len(reads):
        finished += source.wait()
    assert sorted(finished) == list(range(len(reads)))


@ways
@pytest.mark.parametrize("direct", [True, False])
def test_what_is_read_is_what_lies_there(file: Path, content: bytes, way: dict[str, Any], direct: bool) -> None:
    buffer = aligned(DEPTH * 4 * BLOCK)
    source = reader(file, buffer, direct=direct, **way)
    assert source.size == len(content)

    @given(st.lists(st.tuples(st.integers(0, BLOCKS - 4), st.integers(1, 4)), min_size=1, max_size=DEPTH))
    @examples(30)
    def check(reads: list[tuple[int, int]]) -> None:
        before = source.bytes_read
        fetch(source, reads)
        for tag, (block, count) in enumerate(reads):
            start = tag * 4 * BLOCK
            assert buffer[start : start + count * BLOCK].tobytes() == content[block * BLOCK : (block + count) * BLOCK]
        assert source.bytes_read - before == sum(count for _, count in reads) * BLOCK
        assert source.in_flight == 0

    check()
    assert source.waited_seconds > 0
    assert source.busy_seconds > 0


@ways
def test_a_truncated_file_is_an_error_and_its_return_heals(file: Path, content: bytes, way: dict[str, Any]) -> None:
    source = reader(file, aligned(DEPTH * 4 * BLOCK), **way)
    times = os.stat(file)
    os.truncate(file, 3 * BLOCK + 100)
    fetch(source, [(0, 2)])
    with pytest.raises(OSError, match=r"neurons\.bin: .* at offset .* truncated"):
        fetch(source, [(2, 4)])
    file.write_bytes(content)
    with pytest.raises(OSError, match="neurons") as caught:
        fetch(source, [(0, 1)])
    assert caught.value.errno == errno.ESTALE, "another file under the same name is not read"
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    fetch(source, [(2, 4)])


@ways
def test_a_medium_that_fails_is_an_error_with_its_number(way: dict[str, Any]) -> None:
    # The lowest page of a process is never mapped: reading it through procfs fails as a broken medium does.
    source = reader(Path("/proc/self/mem"), aligned(DEPTH * 4 * BLOCK), **way)
    for _ in range(2):
        with pytest.raises(OSError, match="offset 0 cannot be read") as caught:
            fetch(source, [(0, 1), (0, 1)])
        assert caught.value.errno == errno.EIO
        assert caught.value.filename == "/proc/self/mem"


@ways
def test_a_closed_descriptor_fails_once_and_the_file_is_opened_anew(file: Path, way: dict[str, Any]) -> None:
    source = reader(file, aligned(DEPTH * 4 * BLOCK), **way)
    os.close(source.descriptor)
    with pytest.raises(OSError, match="neurons") as caught:
        fetch(source, [(1, 1)])
    assert caught.value.errno == errno.EBADF
    fetch(source, [(1, 1)])


@ways
def test_a_deleted_file_is_read_until_it_must_be_opened_again(file: Path, way: dict[str, Any]) -> None:
    source = reader(file, aligned(DEPTH * 4 * BLOCK), **way)
    file.unlink()
    fetch(source, [(1, 1)])
    os.close(source.descriptor)
    for kind in (OSError, FileNotFoundError, FileNotFoundError):
        with pytest.raises(kind, match="neurons"):
            fetch(source, [(1, 1)])


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    buffer = aligned(DEPTH * 4 * BLOCK)
    with pytest.raises(FileNotFoundError, match="gone"):
        reader(tmp_path / "gone", buffer)
    with pytest.raises(IsADirectoryError):
        reader(tmp_path, buffer)


def test_reads_that_would_leave_the_buffer_are_refused(file: Path) -> None:
    source = reader(file, aligned(4 * BLOCK))
    wrong = [(1, BLOCK, 0, 0), (0, 100, 0, 0), (0, 5 * BLOCK, 0, 0), (0, BLOCK, DEPTH, 0), (0, BLOCK, 0, 8 * BLOCK)]
    for read in wrong:
        with pytest.raises(ValueError, match="reads: "):
            source.submit([read])
    assert source.in_flight == 0

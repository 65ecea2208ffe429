"""Regions by URL: whatever the tier, what was written is read, and what cannot be had is one clear error."""

from __future__ import annotations

import resource
import secrets
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fairlead_kernels.backend import extension
from fairlead_tiered_retrieval.lists import ListIndex
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.tiers import Region, RegionUrlError, TierLost, open_region
from fairlead_tiered_retrieval.tiers.local import NumaRegion

from .nodes import WAIT_S, Node

SIZE = 200_000
KINDS = ("dram", "numa", "file", "direct", "shm", "ring", "delay", "memory", "process", "ucx")


def made(kind: str, node: Node, folder: Path) -> Region:
    """A region of a kind, made anew."""
    name = f"r{secrets.token_hex(4)}"
    if kind in ("ring", "delay", "process"):
        base = open_region(node.url(name), SIZE)
        other = {
            "ring": f"shm:{name}?ring=1&timeout={WAIT_S}",
            "delay": f"shm:{name}?delay_us=200&timeout={WAIT_S}",
            "process": node.url(name, "process"),
        }
        region = open_region(other[kind])
        region.base = base  # type: ignore[attr-defined]  # lent as long as the other is used
        return region
    urls = {
        "dram": "dram:",
        "numa": "numa:0",
        "file": f"file:{folder / name}",
        "direct": f"file:{folder / name}?direct=1",
        "shm": f"shm:{name}",
        "memory": node.url(name),
        "ucx": node.url(name, "ucx"),
    }
    try:
        return open_region(urls[kind], SIZE)
    except TierLost as error:
        if kind == "direct":
            pytest.skip(f"no O_DIRECT here: {error}")
        raise
    except RegionUrlError as error:
        if kind == "ucx" and "UCX" in str(error):
            pytest.skip(str(error))
        if kind == "numa":
            pytest.skip(f"no NUMA node 0 is shown here: {error}")
        raise


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_by_several_threads(kind: str, node: Node, tmp_path: Path) -> None:
    region = made(kind, node, tmp_path)
    content = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
    region.write(0, content)
    region.write(777, content[777:1000].tobytes())
    wrong: list[int] = []

    def reader(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(8):
            offsets = random.integers(0, SIZE - 5000, 20)
            lengths = random.integers(0, 5000, 20)
            expected = np.concatenate([content[at : at + size] for at, size in zip(offsets, lengths, strict=True)])
            if not np.array_equal(region.read_batch(offsets, lengths), expected):
                wrong.append(seed)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    np.testing.assert_array_equal(region.read(0, SIZE), content)
    with pytest.raises(IndexError, match=f"leave the region of {SIZE} bytes"):
        region.read_batch([SIZE - 1], [2])
    region.close()
    with pytest.raises(TierLost, match="is closed"):
        region.read(0, 1)


@pytest.fixture(scope="module")
def lists() -> tuple[ListIndex, np.ndarray, np.ndarray]:
    """An index of vectors, queries, and what it finds while the vectors are in main memory."""
    if extension() is None:
        pytest.skip("the compiled extension is not installed")
    rows = np.random.default_rng(2).standard_normal((1400, 32)).astype(np.float32)
    index = ListIndex.build(Space("float32", "l2", 32), np.arange(1400), rows, list_size=60)
    queries = np.repeat(rows[:500] + np.float32(0.1), 2, axis=0)
    return index, queries, index.search(queries, 5).slots


@pytest.mark.parametrize("kind", ["direct", "ring", "delay", "memory", "process", "ucx"])
def test_an_index_answers_the_same_wherever_its_vectors_lie(
    kind: str, node: Node, tmp_path: Path, lists: tuple[ListIndex, np.ndarray, np.ndarray]
) -> None:
    """A thousand queries, so that tiers are asked many times whether something has arrived."""
    index, queries, expected = lists
    index.move(made(kind, node, tmp_path))
    found = index.search(queries, 5)
    index.move(open_region("dram:", SIZE))
    assert found.complete and (found.round_trips == 1).all()
    np.testing.assert_array_equal(found.slots, expected)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://x/y", "accepted: dram:"),
        ("dram:", "say size=BYTES"),
        ("dram:?size=-4", "size='-4'"),
        ("dram:?size=10&color=red", "'color': accepted options: size"),
        ("numa:4095?size=10", "no NUMA node 4095; this machine has"),
        ("numa:x?size=10", "accepted: numa:NODE"),
        ("file:", "accepted: file:PATH"),
        ("file:/nowhere/at/all", "does not exist; say size=BYTES"),
        ("file:/etc/hostname?direct=2", "direct='2': 0 and 1 are accepted"),
        ("shm:../etc", "accepted: shm:NAME"),
        ("shm:not-there?ring=1", "does not exist"),
        ("memory://host/region", "accepted: memory://HOST:PORT/REGION"),
        ("memory://host:99999/region", "[Pp]ort"),
        ("memory://me:secret@host:1/region", "the token elsewhere"),
        ("process://12/zz?size=4", "accepted: process://PID/ADDRESS"),
        ("memory://[::1/x", "is no URL"),
    ],
)
def test_urls_that_say_nothing_are_refused(url: str, why: str) -> None:
    with pytest.raises(RegionUrlError, match=why):
        open_region(url)


def test_a_node_without_so_much_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node3").mkdir()
    (tmp_path / "node3" / "meminfo").write_text("Node 3 MemTotal: 100 kB\nNode 3 MemFree:  7 kB\n")
    with pytest.raises(RegionUrlError, match="numa:3: size 8000: node 3 has 7168 bytes free"):
        NumaRegion("numa:3", 3, 8000, tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from fairlead_tiered_retrieval.tiers import TierLost, open_region
small = open_region("file:{tmp_path}/small", 90_000)
try:
    open_region("file:{tmp_path}/big", 200_000)
except TierLost as error:
    print(error)
small.write(0, b"still serving")
print(small.read(0, 13).tobytes())
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, check=True
    ).stdout
    assert "200000 bytes in" in said
    assert "(no room): File too large" in said
    assert "still serving" in said
    assert [each.name for each in tmp_path.iterdir()] == ["small"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


def test_memory_of_another_process_is_read_until_it_ends() -> None:
    script = (
        "import ctypes, sys; text = ctypes.create_string_buffer(b'one-sided'); "
        "print(ctypes.addressof(text), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        address = int(other.stdout.readline())
        region = open_region(f"process://{other.pid}/{address:#x}?size=9")
        assert region.read(0, 9).tobytes() == b"one-sided"
        other.kill()
    with pytest.raises(TierLost, match=f"process://{other.pid}/.*has ended"):
        region.read(0, 9)

"""Moves and replicas: nothing that was written is lost, whoever dies meanwhile."""

from __future__ import annotations

import secrets
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_tiered_retrieval.tiers import Region, RegionUrlError, TierLost, TierTimeout, open_region
from fairlead_tiered_retrieval.tiers.command import tier_probe
from fairlead_tiered_retrieval.tiers.move import MovableRegion, MoveError
from fairlead_tiered_retrieval.tiers.probe import TierProbe, probe
from fairlead_tiered_retrieval.tiers.replicated import ReplicatedRegion

from .nodes import Node, patiently

SIZE = 5 << 20


def test_a_region_moves_while_it_is_written_and_read(node: Node, tmp_path: Path) -> None:
    region = MovableRegion(open_region("dram:", SIZE))
    content = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
    region.write(0, content)
    over = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        random = np.random.default_rng(2)
        try:
            while not over.is_set():
                at, length = int(random.integers(0, SIZE - 3000)), int(random.integers(1, 3000))
                content[at : at + length] = random.integers(0, 256, length)
                region.write(at, content[at : at + length])
                np.testing.assert_array_equal(region.read(at, length), content[at : at + length])
        except BaseException as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    shares: list[float] = []
    for url in (f"file:{tmp_path / 'region'}", node.url(f"moved-{secrets.token_hex(4)}"), "dram:"):
        region.move(open_region(url, SIZE), told=shares.append)
        assert region.url == url
    over.set()
    writer.join()
    assert not errors
    assert region.generation == 3
    assert (min(shares) > 0, max(shares), len(shares)) == (True, 1.0, 30)
    np.testing.assert_array_equal(region.read(0, SIZE), content)


def test_the_old_home_is_closed_after_its_last_reader() -> None:
    old = open_region("dram:", 1000)
    region = MovableRegion(old)
    region.write(0, b"here")
    tier = region.open_native()
    region.move(open_region("dram:", 1000))
    assert not old.closed
    out = np.empty(4, np.uint8)
    tier.read(np.zeros(1, np.uint64), np.full(1, 4, np.uint32), out)
    assert out.tobytes() == b"here"
    gone = weakref.ref(tier)
    del tier
    assert gone() is None
    region.read(0, 1)  # this thread's own tier is of the new home, too
    assert old.closed


class Faulty(Region):
    """Memory that fails or forgets from some write on."""

    def __init__(self, size: int, fails_from: int | None = None, forgets_from: int | None = None) -> None:
        super().__init__("dram:faulty", "dram", size)
        self._inner, self._writes = open_region("dram:", size), 0
        self._fails, self._forgets = fails_from, forgets_from

    def open_native(self):
        return self._inner.open_native()

    def write(self, offset: int, data) -> None:
        self._writes += 1
        if self._fails is not None and self._writes > self._fails:
            raise TierLost("dram:faulty: pulled out", self.url)
        if self._forgets is None or self._writes <= self._forgets:
            super().write(offset, data)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Faulty(SIZE, fails_from=2), "not moved to dram:faulty: .*pulled out"),
        (Faulty(SIZE, forgets_from=2), "are not what was written there"),
        (Faulty(SIZE - 1), f"has {SIZE - 1} bytes, {SIZE} are needed"),
    ],
)
def test_a_move_that_fails_leaves_all_as_it_was(target: Region, why: str) -> None:
    region = MovableRegion(open_region("dram:", SIZE))
    region.write(0, b"\1" * SIZE)
    with pytest.raises(MoveError, match=why):
        region.move(target)
    region.write(5, b"on")
    assert region.read(4, 4).tobytes() == b"\1on\1"
    assert region.generation == 0
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(MoveError, match="was stopped"):
        region.move(open_region("dram:", SIZE), stop=stopped)


@pytest.mark.parametrize("way", ["killed", "stalled"])
def test_reads_go_on_from_a_replica(way: str, node: Node) -> None:
    other = Node()
    try:
        name = f"replica-{secrets.token_hex(4)}"
        # Only the silence of one that stalls is waited for.
        url = other.url(name) if way == "killed" else other.url(name, timeout=0.3)
        replicas = [patiently(lambda: open_region(url, 100_000)), open_region(node.url(name), 100_000)]
        with ReplicatedRegion(replicas) as region:
            region.write(0, b"\7" * 100_000)
            tier = region.open_native()
            offsets, lengths = np.arange(0, 90_000, 9_000).astype(np.uint64), np.full(10, 800, np.uint32)
            out = np.empty(8000, np.uint8)
            tier.read(offsets, lengths, out)
            other.kill() if way == "killed" else other.stall()
            for _ in range(3):
                out[:] = 0
                tier.read(offsets, lengths, out)
                assert (out == 7).all()
            assert (region.read(0, 100) == 7).all()
            region.write(50, b"\10")
            assert region.whole == (replicas[1].url,)
            assert region.read(49, 3).tobytes() == b"\7\10\7"
    finally:
        other.end()


def test_no_replica_left_is_said() -> None:
    others = [Node("--region", "r=1M") for _ in range(2)]
    region = ReplicatedRegion([open_region(each.url("r")) for each in others])
    region.read(0, 10)
    for each in others:
        each.kill()
    with pytest.raises((TierLost, TierTimeout), match="no replica"):
        region.read(0, 10)
    with pytest.raises(TierLost, match="no replica"):
        region.write(0, b"x")
    with pytest.raises(RegionUrlError, match="one or more of one size"):
        ReplicatedRegion([])
    for each in others:
        each.end()


def test_a_probe_measures_every_size_and_depth(tmp_path: Path) -> None:
    region = open_region(f"file:{tmp_path / 'region'}", 1 << 20)
    found = probe(region, seconds=0.002, lengths=(64, 4096), depths=(1, 32))
    assert [(each.length, each.depth) for each in found.points] == [(64, 1), (64, 32), (4096, 1), (4096, 32)]
    assert all(0 < each.p50_us <= each.p99_us and each.reads_per_s > 0 for each in found.points)
    assert TierProbe.from_json(found.to_json()) == found
    assert found.at(5000, 20) == found.points[3]
    assert found.kind == "file"
    costs = [found.read_us(length, 32) for length in (64, 2000, 4096)]
    assert min(costs[0], costs[2]) <= costs[1] <= max(costs[0], costs[2])
    with pytest.raises(ValueError, match="1048576 bytes are fewer than a read of 2097152"):
        probe(region, lengths=(1 << 21,))
    for text in ("", "{}", '{"kind": "x", "direct": false, "points": [{"length": 1}]}'):
        with pytest.raises(ValueError, match="not what a probe writes"):
            TierProbe.from_json(text)


def test_the_command_shows_what_a_probe_finds(tmp_path: Path) -> None:
    url = f"file:{tmp_path / 'region'}"
    asked = ["--size", "1M", "--quick"]
    said = CliRunner().invoke(tier_probe, [url, *asked, "--json"], catch_exceptions=False)
    assert {each.depth for each in TierProbe.from_json(said.output).points} == {1, 16, 128}
    said = CliRunner().invoke(tier_probe, [url, "--quick"], catch_exceptions=False)
    assert "reads/s" in said.output
    said = CliRunner().invoke(tier_probe, ["tape:x"])
    assert said.exit_code == 1
    assert "accepted: dram:" in said.output

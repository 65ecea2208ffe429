"""Memory nodes: who may read, for how long, and what a client sees when a node dies, stalls or is none."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import fairlead_kernels as fk
from fairlead_kernels import vector_tiers
from fairlead_tiered_retrieval.errors import TieredRetrievalError
from fairlead_tiered_retrieval.tiers import RegionUrlError, TierLost, TierTimeout, open_region
from fairlead_tiered_retrieval.tiers import node as memory_nodes
from fairlead_tiered_retrieval.tiers.command import memory_node
from fairlead_tiered_retrieval.tiers.node import MemoryNode
from fairlead_tiered_retrieval.tiers.remote import LentRegion

from .nodes import TOKEN, WAIT_S, Node, patiently

HAS_UCX = bool(fk.available_isas()) and not vector_tiers.serving().ucx_missing()
UCX = pytest.param("ucx", marks=pytest.mark.skipif(not HAS_UCX, reason="no UCX here"))
WAYS = ("memory", "process", "ring", UCX)


def test_capacity_names_and_sizes_are_kept(node: Node) -> None:
    name = f"keep-{secrets.token_hex(4)}"
    with open_region(node.url(name), 1 << 20) as first:
        for asked, size, why in (
            (name, 5, "is lent already, with 1048576 bytes"),
            ("much", 1 << 30, "bytes are left of 67108864"),
            ("none", 0, "size 0: 1 to"),
        ):
            with pytest.raises(TierLost, match=why):
                open_region(node.url(asked), size)
        with pytest.raises(TierLost, match=r"lease_s inf: above 0"):
            LentRegion(node.url(name), "memory", "127.0.0.1", node.port, f"{name}-2", 10, lease_s=math.inf)
        with pytest.raises(TierLost, match=r"lease_s 900\.0: above 0, at most 30\.0"):
            open_region(node.url("long", lease_s=900), 10)
        again = open_region(node.url(name), 1 << 20)
        first.write(3, b"x")
        assert again.read(3, 1).tobytes() == b"x"
        assert isinstance(first, LentRegion)
        seen = first.statistics()["regions"][name]
        assert (seen["size"], seen["writes"], seen["reads"]) == (1 << 20, 1, 1)
    with pytest.raises(TierLost, match=f"region {name}: is not lent here"):
        open_region(node.url(name))


def test_a_wrong_token_gets_nothing(node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRLEAD_MEMORY_TOKEN", "another token altogether")
    with pytest.raises(TierLost, match="refused: the token is wrong") as caught:
        open_region(node.url("x"), 10)
    assert "another token" not in str(caught.value)
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with open_region(node.url(f"file-{secrets.token_hex(4)}", token_file=str(file)), 10) as region:
        assert region.size == 10
    monkeypatch.delenv("FAIRLEAD_MEMORY_TOKEN")
    with pytest.raises(RegionUrlError, match="no token: set FAIRLEAD_MEMORY_TOKEN"):
        open_region(node.url("x"), 10)
    with pytest.raises(RegionUrlError, match="token file /nowhere"):
        open_region(node.url("x", token_file="/nowhere"), 10)


def test_the_token_is_never_said() -> None:
    running = Node("--region", "own=1M")
    open_region(running.url("own")).read(0, 100)
    said = running.end()
    assert '"own": {"size": 1048576, "lease_left_s": null, "reads": 1' in said
    assert TOKEN not in said


def test_a_lease_that_is_not_renewed_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on once the holder has had its turn, however late that is."""
    now = [0.0]
    monkeypatch.setattr(memory_nodes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with MemoryNode(1 << 20, TOKEN, lease_s=1.0) as lender:
        url = f"memory://127.0.0.1:{lender.port}/short?timeout={WAIT_S}"
        holder = open_region(url, 1000)
        ways = ("memory", "process", "ucx") if HAS_UCX else ("memory", "process")
        readers = [open_region(url.replace("memory", way)) for way in ways]
        for _ in range(3):
            now[0] += 0.6
            _until(lambda: lender.statistics()["regions"]["short"]["lease_left_s"] > 0.9)
        for region in readers:
            assert region.read(0, 4).tobytes() == bytes(4), "its holder renews it"
        holder._ended.set()  # type: ignore[attr-defined]  # as a holder that has died

        def over() -> bool:
            now[0] += 1.0
            return not lender.statistics()["regions"]

        _until(over)
        for region in readers:
            # Connections of regions that are over are closed within a moment.
            with pytest.raises(
                TierLost, match=r"not lent here|given back|closed the connection|lends it no more|not map it any more"
            ):
                _until(lambda region=region: not len(region.read(0, 4)))
        assert lender.statistics()["lent_bytes"] == 0


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


@contextmanager
def reading(url: str) -> Iterator[Callable[[], BaseException | None]]:
    """Read in a thread until it fails; gives what ends it, None where nothing did in time."""
    region = open_region(url)
    ended: list[BaseException] = []
    begun = threading.Event()

    def read() -> None:
        offsets = np.random.default_rng(2).integers(0, region.size - 1024, 64)
        try:
            while True:
                region.read_batch(offsets, 1024)
                begun.set()
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert begun.wait(WAIT_S)

    def outcome() -> BaseException | None:
        thread.join(WAIT_S)
        return ended[0] if ended else None

    yield outcome


@pytest.mark.parametrize("how", WAYS)
def test_a_node_that_is_killed_while_it_is_read_is_lost(how: str) -> None:
    name = f"killed-{secrets.token_hex(4)}"
    running = Node("--shared", "--region", f"{name}=1M")
    url = f"shm:{name}?delay_us=5&timeout={WAIT_S}" if how == "ring" else running.url(name, how)
    try:
        with reading(url) as outcome:
            running.kill()
            error = outcome()
        assert isinstance(error, TierLost), error
        assert error.url == url
        with pytest.raises(TierLost):
            open_region(url).open_native()
        again = Node("--shared", "--region", f"{name}=1M")
        assert open_region(again.url(name)).read(0, 9).tobytes() == bytes(9), "a new node takes the place of a dead one"
        again.end()
    finally:
        running.end()
    assert not list(Path("/dev/shm").glob(f"fairlead-{name}*"))


@pytest.mark.parametrize("how", ["memory", "ring", UCX])
def test_a_node_that_stalls_is_late_and_can_be_read_again_when_it_goes_on(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCX_TLS", "tcp")  # over shared memory its reads do not need the other process at all
    name = f"stalled-{secrets.token_hex(4)}"
    running = Node("--shared", "--region", f"{name}=1M")
    url = f"shm:{name}?delay_us=5&timeout=0.3" if how == "ring" else running.url(name, how, timeout=0.3)
    try:
        region = patiently(lambda: open_region(url))
        patiently(lambda: region.read(0, 10))
        running.stall()
        with pytest.raises(TierTimeout, match=r"no answer within 0\.3"):
            region.read(0, 10)
        if how != "ring":
            with pytest.raises(TierTimeout, match=r"within 0\.3"):
                open_region(url)
        running.signal(signal.SIGCONT)
        assert patiently(lambda: region.read(0, 10)).tobytes() == bytes(10)
    finally:
        running.end()


def test_one_sided_reads_do_not_need_the_other_process() -> None:
    running = Node("--region", "asleep=1M")
    region = open_region(running.url("asleep", "process"))
    tier = region.open_native()
    running.stall()
    out = np.ones(100, np.uint8)
    tier.read(np.zeros(1, np.uint64), np.full(1, 100, np.uint32), out)
    assert not out.any()
    running.end()


def test_what_is_no_memory_node_is_told_apart() -> None:
    answers = [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nServer: something else\r\n\r\n", b""]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"memory://127.0.0.1:{port}/x?timeout={WAIT_S}"

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.sendall(answer)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in answers:
            with pytest.raises(TierLost, match=r"127\.0\.0\.1.*(no memory node|is a memory node there)"):
                open_region(url)
        thread.join()
    with pytest.raises(TierLost, match="no connection to 127"):
        open_region(url)


def test_a_node_outlives_garbage() -> None:
    random = np.random.default_rng(4)
    with MemoryNode(1 << 20, TOKEN) as lender:
        region = open_region(f"memory://127.0.0.1:{lender.port}/good?timeout={WAIT_S}", 1000)
        region.write(0, b"good")
        for length in (1, 31, 32, 33, 5000, 100_000):
            with socket.create_connection(("127.0.0.1", lender.port), WAIT_S) as stranger:
                stranger.sendall(random.bytes(length))
                stranger.shutdown(socket.SHUT_WR)
                stranger.settimeout(WAIT_S)
                try:
                    assert stranger.recv(10) == b""
                except ConnectionResetError:
                    pass
        assert lender.statistics()["garbage"] >= 4
        assert region.read(0, 4).tobytes() == b"good"


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(TieredRetrievalError, match="16 characters"):
        MemoryNode(10, "short")
    with pytest.raises(TieredRetrievalError, match="capacity, lease_s"):
        MemoryNode(0, TOKEN)
    for arguments, why in (
        (["--capacity", "12Q"], "a whole number above 0, with K, M, G or T"),
        (["--capacity", "1M", "--port", "0", "--region", "big=2M"], "region big: size 2097152"),
    ):
        result = CliRunner().invoke(memory_node, arguments)
        assert result.exit_code != 0
        assert why in result.output


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2")
def test_a_node_in_another_network_namespace_is_read() -> None:
    space, ours, theirs = "fl-tiers", "fl-tiers0", "fl-tiers1"
    commands = (
        f"ip netns add {space}",
        f"ip link add {ours} type veth peer name {theirs} netns {space}",
        f"ip addr add 10.213.77.1/30 dev {ours}",
        f"ip link set {ours} up",
        f"ip -n {space} addr add 10.213.77.2/30 dev {theirs}",
        f"ip -n {space} link set {theirs} up",
    )
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
        running = Node("--host", "10.213.77.2", prefix=("ip", "netns", "exec", space))
        try:
            with open_region(f"memory://10.213.77.2:{running.port}/far?timeout={WAIT_S}", 5000) as region:
                region.write(10, b"far away")
                assert region.read(10, 8).tobytes() == b"far away"
        finally:
            running.end()
    finally:
        subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

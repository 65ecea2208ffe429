"""Tiers of other processes, served from threads of this one: native code meets every kind of answer here."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import vector_tiers as vt
from tests.plugins.kernels.cases import examples

pytestmark = pytest.mark.skipif(not fk.available_isas(), reason="no compiled kernels")
SIZE = 200_001
WAIT_S = 60.0
HEADER = struct.Struct("<IHHQIIII")
MAGIC, READ, WRITE, CONTROL = 0x31544C46, 1, 2, 3


def native() -> Any:
    return vt.serving()


def crc(data: bytes) -> int:
    return native().crc32c(np.frombuffer(data, np.uint8), 0)


def frame(operation: int, payload: bytes, count: int = 0, number: int = 1) -> bytes:
    head = HEADER.pack(MAGIC, operation, 0, number, count, len(payload), crc(payload), 0)[:-4]
    return head + struct.pack("<I", crc(head)) + payload


@pytest.fixture(scope="module")
def memory() -> Any:
    made = native().TierMemory.anonymous(SIZE)
    made.array()[:] = np.random.default_rng(3).integers(0, 256, SIZE, np.uint8)
    return made


@pytest.fixture(scope="module")
def served(memory: Any) -> Iterator[tuple[int, Any]]:
    """Port of a server that lends to whoever says so, and the region."""
    region = native().LentRegion(memory)

    def handle(connection: int, text: bytes, ended: bool) -> Any:
        return b"you said " + text, region if text == b"lend" else None, text == b"bye"

    server = native().RegionServer("127.0.0.1", 0, 16, handle)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server.port, region
    server.stop()
    thread.join()


def connected(port: int) -> socket.socket:
    """A connection that has been lent the region."""
    made = socket.create_connection(("127.0.0.1", port), WAIT_S)
    made.sendall(frame(CONTROL, b"lend"))
    assert made.recv(1000)[HEADER.size :] == b"you said lend"
    return made


@pytest.fixture(scope="module")
def ring(memory: Any) -> Iterator[Any]:
    """A ring's segment whose server runs in a thread."""
    segment = native().TierMemory.anonymous(native().RING_BYTES)
    server = native().SharedServer(memory, segment)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield segment
    server.stop()
    thread.join()


def reads_of_processes() -> bool:
    try:
        byte = ctypes.create_string_buffer(b"x", 1)
        part = (ctypes.c_size_t * 2)(ctypes.addressof(byte), 1)
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.process_vm_readv(os.getpid(), part, 1, part, 1, 0) == 1 or ctypes.get_errno() != errno.ENOSYS
    except AttributeError:
        return False


@pytest.fixture(params=["tcp", "ring", "delay", "process", "replicated"])
def tier(request: pytest.FixtureRequest, memory: Any, served: tuple[int, Any], ring: Any) -> Any:
    way = request.param
    if way == "tcp":
        return native().tcp_tier("memory:x", connected(served[0]).detach(), SIZE, WAIT_S)
    if way in ("ring", "delay"):
        return native().shared_tier("shm:x", memory, ring, 300e-6 if way == "delay" else 0.0, WAIT_S)
    if way == "process":
        if not reads_of_processes():
            pytest.skip("this system reads no other process's memory (process_vm_readv; an emulator may lack it)")
        return native().process_tier("process:x", os.getpid(), memory.address, SIZE)
    lost = native().tcp_tier("memory:lost", socket.socketpair()[0].detach(), SIZE, WAIT_S)
    return native().replicated_tier("both", [lost, native().memory_tier("dram:", memory)])


def test_any_ranges_read_what_lies_there(tier: Any, memory: Any) -> None:
    content = memory.array()

    @examples(12, seeded=False)
    @given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 150_000)), max_size=30))
    def check(wanted: list[tuple[int, int]]) -> None:
        places = [(at, min(size, SIZE - at)) for at, size in wanted]
        got = vt.read_batch(tier, [at for at, _ in places], np.array([size for _, size in places], np.uint32))
        expected = [content[at : at + size] for at, size in places]
        np.testing.assert_array_equal(got, np.concatenate(expected) if expected else np.empty(0, np.uint8))

    check()
    kept = content[500:600].copy()
    tier.write(500, kept[::-1].copy())
    np.testing.assert_array_equal(vt.read_batch(tier, [500], 100), kept[::-1])
    tier.write(500, kept)
    with pytest.raises(IndexError, match="leave the region"):
        tier.write(SIZE - 1, kept)


def test_many_batches_overlap(tier: Any) -> None:
    latencies = np.empty(100)
    offsets = np.random.default_rng(4).integers(0, SIZE - 700, 1600).astype(np.uint64)
    assert tier.measure(offsets, 700, 16, 6, latencies) >= latencies.max() > 0


def answer_once(answer: bytes) -> tuple[int, threading.Thread]:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        theirs.recv(4096)
        theirs.sendall(answer)
        theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return ours.detach(), thread


GOOD = b"x" * 100
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "garbage": (lambda: b"HTTP/1.1 200 OK\r\n\r\n" * 9, "no memory node, or sends garbage"),
    "closed": (lambda: b"", "closed the connection"),
    "half": (lambda: frame(READ, GOOD)[:60], "closed the connection"),
    "damaged": (lambda: frame(READ, GOOD)[:-1] + b"y", "its checksum is wrong"),
    "short": (lambda: frame(READ, GOOD[:9]), "the order or the sizes"),
    "other": (lambda: frame(READ, GOOD, number=9), "the order or the sizes"),
}


@pytest.mark.parametrize("what", BAD)
def test_answers_that_break_the_protocol_lose_the_tier(what: str) -> None:
    made, why = BAD[what]
    descriptor, thread = answer_once(made())
    tier = native().tcp_tier("memory:bad", descriptor, SIZE, WAIT_S)
    for _ in range(2):
        with pytest.raises(vt.TierLost, match=f"memory:bad: .*{why}"):
            vt.read_batch(tier, [0], 100)
    thread.join()


def test_no_answer_is_a_timeout_and_then_the_tier_is_lost() -> None:
    ours, silent = socket.socketpair()
    with silent:
        tier = native().tcp_tier("memory:silent", ours.detach(), SIZE, 0.2)
        with pytest.raises(vt.TierTimeout, match=r"memory:silent: no answer within 0\.2"):
            vt.read_batch(tier, [0], 100)
        with pytest.raises(vt.TierLost, match="did not answer in time before"):
            vt.read_batch(tier, [0], 100)


@pytest.mark.parametrize(
    ("operation", "payload", "count", "why"),
    [
        (READ, struct.pack("<QQ", SIZE, 1), 1, b"a read leaves the region"),
        (READ, struct.pack("<QQ", 2**64 - 1, 2), 1, b"a read leaves the region"),
        (READ, struct.pack("<QQ", 0, 1), 7, b"has another size"),
        (READ, struct.pack("<QQ", 0, SIZE) * 100, 100, b"more than 16 MiB"),
        (WRITE, struct.pack("<QQ", SIZE - 2, 4) + b"abcd", 1, b"a write leaves the region"),
        (WRITE, b"abc", 1, b"a write has no range"),
        (77, b"", 0, b"no operation 77"),
    ],
)
def test_requests_that_leave_the_region_are_refused(
    served: tuple[int, Any], operation: int, payload: bytes, count: int, why: bytes
) -> None:
    with connected(served[0]) as client:
        client.sendall(frame(operation, payload, count))
        assert why in client.recv(1000)
        client.sendall(frame(CONTROL, b"bye"))
        assert client.recv(1000)[HEADER.size :] == b"you said bye"
        assert client.recv(1000) == b""


def test_nothing_is_read_before_it_is_lent_or_after(served: tuple[int, Any], memory: Any) -> None:
    with socket.create_connection(("127.0.0.1", served[0]), WAIT_S) as client:
        client.sendall(frame(READ, struct.pack("<QQ", 0, 4), 1))
        assert b"has not been lent a region" in client.recv(1000)
    region = native().LentRegion(memory)
    region.end()
    tier = native().tcp_tier("memory:x", connected(served[0]).detach(), SIZE, WAIT_S)
    served[1].end()
    with pytest.raises(vt.TierLost, match=r"given back|closed the connection"):
        for _ in range(100):
            vt.read_batch(tier, [0], 100)


def test_a_ring_that_nobody_serves_is_lost(memory: Any) -> None:
    segment = native().TierMemory.anonymous(native().RING_BYTES)
    with pytest.raises(vt.TierLost, match="nobody serves it"):
        native().shared_tier("shm:x", memory, segment, 0.0, 1.0)
    server = native().SharedServer(memory, segment)
    tier = native().shared_tier("shm:x", memory, segment, 0.0, 0.2)
    with pytest.raises(vt.TierTimeout, match=r"shm:x: no answer within 0\.2"):
        vt.read_batch(tier, [0], 100)
    server.stop()
    with pytest.raises(vt.TierLost, match="nobody serves it"):
        native().shared_tier("shm:x", memory, segment, 0.0, 0.2)


def test_the_checksum_is_castagnolis() -> None:
    assert crc(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert native().crc32c(np.frombuffer(b"6789", np.uint8), crc(b"12345")) == 0xE3069283

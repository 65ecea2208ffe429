"""The emulator between network namespaces, with real sockets; skipped without the privilege to make them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import fairlead_bridge
from fairlead_bridge.emulator.conditions import Conditions
from fairlead_bridge.emulator.emulator import End, LinkEmulator
from fairlead_bridge.emulator.trace import RateTrace
from fairlead_bridge.emulator.tun import open_tun
from fairlead_bridge.network_namespace import NetworkNamespace
from tests.firmware_bridge.wires import (
    LEFT,
    PAYLOAD_BYTES,
    RIGHT,
    Received,
    Wire,
    carries,
    datagrams,
    flood,
    receive_stamped,
)
from tests.patience import patient

PACKET_BYTES = PAYLOAD_BYTES + 28
PACKAGES = str(Path(fairlead_bridge.__file__).parents[1])


@contextmanager
def emulated(forward: Conditions, backward: Conditions | None = None) -> Iterator[tuple[Wire, LinkEmulator]]:
    with ExitStack() as stack:
        try:
            left, right = (stack.enter_context(NetworkNamespace.new()) for _ in range(2))
            for namespace in (left, right):
                without_version_6(namespace)
            ends = End("left", f"{LEFT}/24", left), End("right", f"{RIGHT}/24", right)
            emulator = LinkEmulator(*ends, forward, backward, seed=5)
        except OSError as error:
            pytest.skip(f"no TUN devices between network namespaces here: {error}")
        yield Wire(left, right), stack.enter_context(emulator)


def without_version_6(namespace: NetworkNamespace) -> None:
    """Else the kernel itself sends packets that look for routers."""
    switch = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    with namespace.entered():
        if switch.exists():
            switch.write_text("1")


def test_no_packet_comes_before_its_delay() -> None:
    with emulated(Conditions(delay_s=0.03), Conditions(delay_s=0.02)) as (wire, _):
        with datagrams(wire.left, (LEFT, 5000)) as ours, datagrams(wire.right, (RIGHT, 5000)) as theirs:
            ours.settimeout(patient(60))
            theirs.settimeout(patient(60))
            trips = []
            end = time.monotonic() + patient(30)
            # The best of a few shows that nothing but the delay is waited for; a busy machine needs more of them.
            while len(trips) < 5 or (min(trips)[0] >= 0.03 + 0.1 and time.monotonic() < end):
                start = time.monotonic()
                ours.sendto(b"there", (RIGHT, 5000))
                theirs.recv(100)
                there = time.monotonic()
                theirs.sendto(b"and back", (LEFT, 5000))
                ours.recv(100)
                trips.append((there - start, time.monotonic() - there))
    assert min(there for there, _ in trips) >= 0.03 and min(back for _, back in trips) >= 0.02
    assert min(there for there, _ in trips) < 0.03 + 0.1


def test_no_more_comes_through_than_the_rate() -> None:
    with emulated(Conditions(RateTrace.constant(8e6), queue_bytes=30_000)) as (wire, emulator):
        assert carries(lambda: flood(wire, 0.4, frame_bytes=PACKET_BYTES), 8e6, 0, least=0.3)
        counts = emulator.close().forward
    assert counts.dropped > 0 and counts.lost == 0
    assert counts.offered == counts.delivered + counts.dropped + counts.under_way


def test_an_outage_of_the_trace_stops_everything() -> None:
    outage = RateTrace.of((0.0, 0.1, 1000.0), (8e6, 0.0, 8e6))
    with emulated(Conditions(outage)) as (wire, _):
        with datagrams(wire.right, (RIGHT, 5000), stamped=True) as theirs, datagrams(wire.left, (LEFT, 0)) as ours:
            theirs.settimeout(0.3)
            for _ in range(200):
                ours.sendto(bytes(PAYLOAD_BYTES), (RIGHT, 5000))
            received = 0
            with pytest.raises(TimeoutError):
                while receive_stamped(theirs):
                    received += 1
    assert received * PACKET_BYTES * 8 <= 0.1 * 8e6


def test_packets_are_lost_by_the_seed_and_not_by_chance() -> None:
    def survivors() -> list[int]:
        with emulated(Conditions(loss=0.3)) as (wire, emulator):
            with datagrams(wire.right, (RIGHT, 5000), stamped=True) as theirs, datagrams(wire.left, (LEFT, 0)) as ours:
                for number in range(200):
                    ours.sendto(number.to_bytes(2, "big"), (RIGHT, 5000))
                while emulator.counts.forward.offered < 200 or emulator.counts.forward.under_way:
                    time.sleep(0.005)
                theirs.settimeout(patient(60))
                return [int.from_bytes(theirs.recv(10), "big") for _ in range(emulator.counts.forward.delivered)]

    first = survivors()
    assert 100 < len(first) < 180
    assert survivors() == first


def test_the_command_makes_a_link_and_says_what_passed(tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("0 8\n1 4\n")
    with ExitStack() as stack:
        try:
            left, right = (stack.enter_context(NetworkNamespace.new()) for _ in range(2))
            with left.entered():
                os.close(open_tun("probe").descriptor)
        except OSError as error:
            pytest.skip(f"no TUN devices between network namespaces here: {error}")
        ends = [f"/proc/{os.getpid()}/fd/{namespace.descriptor}" for namespace in (left, right)]
        command = [
            sys.executable,
            "-m",
            "fairlead_bridge.emulator",
            "--trace",
            str(trace),
            "--delay-ms",
            "5",
            "--realtime",
        ]
        addresses = ["--left-address", f"{LEFT}/24", "--right-address", f"{RIGHT}/24"]
        process = subprocess.Popen(
            [*command, "--left", ends[0], "--right", ends[1], *addresses],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([PACKAGES, os.environ.get("PYTHONPATH", "")])},
        )
        with process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"left": "emulated-l", "right": "emulated-r"}
            floods: list[Received] = []
            while not any(received.frames for received in floods):
                floods.append(flood(Wire(left, right), 0.2, frame_bytes=PACKET_BYTES))
            process.send_signal(signal.SIGTERM)
            said = json.loads(process.stdout.readline())
        assert process.returncode == 0
    assert all(received.within(8e6, 0) for received in floods)
    assert said["forward"]["delivered"] >= sum(received.frames for received in floods)


def test_a_wrong_trace_ends_the_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from fairlead_bridge.emulator.__main__ import main

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with pytest.raises(SystemExit) as ended:
            main(["--trace", "nowhere.txt"])
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert ended.value.code == 2
    assert "nowhere.txt: No such file or directory; accepted: a readable file of two columns" in capsys.readouterr().err

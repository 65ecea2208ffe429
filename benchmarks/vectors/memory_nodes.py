"""Tiers on this machine for benchmarks: a memory node in a process of its own, shared memory with a delay, a file."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Injected by the server of the shared memory.
DELAY_US = 2


@contextlib.contextmanager
def lent_regions(folder: Path, size: int, core: int | None) -> Iterator[Mapping[str, str]]:
    """URLs of a region of a size in each tier that this machine has, while servers for them run.

    Args:
        folder: for the file.
        size: of each, in bytes.
        core: that servers run on; None: any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "token"
    token.write_text(secrets.token_hex(16))
    token.chmod(0o600)
    port, shared_port, name = _free_port(), _free_port(), f"bench{os.getpid()}"
    common = ["--token-file", str(token), "--capacity", str(4 * size)]
    shared_region = ["--shared", "--region", f"{name}={size}"]
    servers = [
        _served(["--port", str(port), *common], port, core),
        _served(["--port", str(shared_port), *common, *shared_region], shared_port, core),
    ]
    file = folder / "tier.bytes"
    file.unlink(missing_ok=True)
    by, given = f"127.0.0.1:{port}/{name}", f"token_file={token}"
    try:
        yield {
            "shared memory, 2 us injected": f"shm:{name}?delay_us={DELAY_US}",
            "another process, one-sided reads": f"process://{by}-process?{given}",
            "memory node over TCP": f"memory://{by}-tcp?{given}",
            "memory node over UCX": f"ucx://{by}-ucx?{given}",
            "file, O_DIRECT": f"file:{file}?direct=1",
        }
    finally:
        for server in servers:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
        for left in (file, token):
            left.unlink(missing_ok=True)


def _served(options: list[str], port: int, core: int | None) -> subprocess.Popen[bytes]:
    program = "from fairlead_tiered_retrieval.tiers.command import memory_node; memory_node()"
    command = [sys.executable, "-c", program, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process
        time.sleep(0.05)
    raise SystemExit(f"{' '.join(command)}: does not answer")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]

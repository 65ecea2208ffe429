"""The tiers that this machine has, with servers of their own while they are looked at: for the study and benchmarks."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import TieredRetrievalError

START_S, END_S = 20.0, 10.0


@contextlib.contextmanager
def local_tiers(
    size: int,
    *,
    folder: Path | None = None,
    delays_us: Sequence[float] = (2,),
    core: int | None = None,
    name: str = "tiers",
) -> Iterator[dict[str, str]]:
    """Give URLs of regions by the tier's name, while their servers run.

    Args:
        size: of each region, in bytes.
        folder: for the file; None: a temporary one.
        delays_us: that the server of shared memory answers after, a tier for each.
        core: that servers run on; None: any.
        name: of the regions, another for each that are open at once.

    Raises:
        TieredRetrievalError: a server does not start; its last words are in the message.
    """
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-tiers-", dir=folder)))
        token = place / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(16))
        port, shared_port, name = _free_port(), _free_port(), f"{name}{os.getpid()}"
        common = ["--token-file", str(token), "--capacity", str(4 * size)]
        _serve(stack, ["--port", str(port), *common], port, core)
        shared = ["--shared", "--region", f"{name}={size}"]
        _serve(stack, ["--port", str(shared_port), *common, *shared], shared_port, core)
        by, given = f"127.0.0.1:{port}/{name}", f"token_file={token}"
        yield {
            **{f"shared memory, {delay:g} us injected": f"shm:{name}?delay_us={delay:g}" for delay in delays_us},
            "another process, one-sided reads": f"process://{by}-process?{given}",
            "memory node over TCP": f"memory://{by}-tcp?{given}",
            "memory node over UCX": f"ucx://{by}-ucx?{given}",
            "file, O_DIRECT": f"file:{place / 'tier.bytes'}?direct=1",
        }


def _serve(stack: contextlib.ExitStack, options: list[str], port: int, core: int | None) -> None:
    program = "from fairlead_tiered_retrieval.tiers.command import memory_node; memory_node()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    stack.callback(_end, process)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    process.kill()
    said = (process.communicate()[1] or b"").decode(errors="replace").strip()
    raise TieredRetrievalError(f"memory node at port {port} does not start: {said[-300:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]

"""A broker as a child process that ends with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import signal
import socket
from pathlib import Path

from fairlead_agent.bus.broker.base import BrokerError

READY_S = 15.0
STOP_S = 5.0
PR_SET_PDEATHSIG = 1
_SOCKETS = Path("/proc/net/tcp")
_GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT = 20_000
# Loaded here, because nothing may be loaded between fork and exec.
_LIBC = ctypes.CDLL(None, use_errno=True)


class BrokerProcess:
    """One run of a broker's program.

    Args:
        name: what errors call it.
        log_file: where its output goes; errors quote the end of it.
    """

    def __init__(self, name: str, log_file: Path) -> None:
        self._name = name
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, *command: str, port: int) -> None:
        """Run ``command`` and wait until something accepts connections on the loopback ``port``."""
        if self.pid is not None:
            raise BrokerError(f"{self._name} runs already (process {self.pid})")
        # Otherwise the wait below would take a stranger's answer for ours.
        if not is_free(port):
            raise BrokerError(f"{self._name}: port {port} of 127.0.0.1 is in use")
        with self._log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            await self._wait_ready(self._process, port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """SIGTERM, a grace, SIGKILL."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL: for tests of what survives it."""
        await self._end(signal.SIGKILL)

    async def reload(self) -> None:
        """Make it read its files again."""
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _end(self, first: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        for number in (first, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
                return

    async def _wait_ready(self, process: asyncio.subprocess.Process, port: int) -> None:
        deadline_s = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline_s:
            if process.returncode is not None:
                raise BrokerError(f"{self._name} ended with status {process.returncode}: {self._last_lines()}")
            # A stranger may have taken the port meanwhile.
            if listens(process.pid, port) and await _answers(port):
                return
            await asyncio.sleep(0.03)
        raise BrokerError(f"{self._name} does not answer on port {port} after {READY_S} s: {self._last_lines()}")

    def _last_lines(self) -> str:
        with contextlib.suppress(OSError):
            return " | ".join(self._log_file.read_text(errors="replace").strip().splitlines()[-3:])[-600:]
        return "no log"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now.

    Where possible one that the system gives to nobody who asks for any: it is still free when a program is up that
    listens there.
    """
    first = _first_given_port()
    for _ in range(100 if first > _FIRST_PORT else 0):
        port = _FIRST_PORT + secrets.randbelow(first - _FIRST_PORT)
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_given_port() -> int:
    try:
        return int(_GIVEN_PORTS.read_text().split()[0])
    except OSError:
        return 0


def is_free(port: int) -> bool:
    """True when a server could listen on the loopback ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def listens(pid: int, port: int) -> bool:
    """Whether a process itself listens on the loopback ``port``; True where the system does not tell."""
    if not _SOCKETS.exists():
        return True
    rows = [line.split() for line in _SOCKETS.read_text().splitlines()[1:]]
    # Local address, state (0A: listening), inode: proc(5).
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    try:
        return any(os.readlink(file) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return True
    except OSError:
        return False  # it ends, or changes what it has open


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

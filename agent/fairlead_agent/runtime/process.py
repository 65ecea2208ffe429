"""One worker process: started by this agent, or found again after the agent's restart."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

from fairlead_agent.messages.base import Frozen
from fairlead_agent.runtime.files import write_private
from fairlead_agent.runtime.process_facts import boot_id, command_line, start_ticks
from fairlead_agent.runtime.spec import HostSpec

HOST_MODULE = "fairlead_agent.runtime.host"
_SECRET_NAME = re.compile(r"PASSW|TOKEN|SECRET|COOKIE|AUTHORIZATION|CREDENTIAL|_KEY$", re.IGNORECASE)
_POLL_S = 0.2


class ProcessMark(Frozen):
    """Names one process for ever: pids are used again, but not with the same start in the same boot."""

    pid: int
    start_ticks: int
    boot_id: str

    @staticmethod
    def path(folder: Path) -> Path:
        """Where an instance's folder keeps the mark."""
        return folder / "process.json"

    def is_ours(self, spec: HostSpec) -> bool:
        """Whether the process lives and is the worker of this spec."""
        if self.boot_id != boot_id() or start_ticks(self.pid) != self.start_ticks:
            return False
        arguments = command_line(self.pid)
        return HOST_MODULE in arguments and str(spec.path) in arguments


class WorkerProcess:
    """A worker and the process group that it leads."""

    def __init__(self, mark: ProcessMark, child: subprocess.Popen[bytes] | None = None) -> None:
        self.mark = mark
        self._child = child
        self.exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._pidfd = _open_pidfd(mark.pid)
        if self._pidfd is None:
            self._poll()
        else:
            asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        return self.mark.pid

    @classmethod
    def spawn(cls, spec: HostSpec) -> WorkerProcess:
        """Start the host for a spec that lies in its folder.

        The worker writes its log itself and leads a session of its own, so that it outlives the agent.

        Raises:
            OSError: the interpreter cannot be started.
        """
        spec.outcome_path.unlink(missing_ok=True)
        log = os.open(spec.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                [str(spec.python or sys.executable), "-m", HOST_MODULE, str(spec.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=spec.folder,
                env=environment(spec),
                start_new_session=True,
            )
        finally:
            os.close(log)
        mark = ProcessMark(pid=child.pid, start_ticks=start_ticks(child.pid) or 0, boot_id=boot_id())
        write_private(ProcessMark.path(spec.folder), mark.model_dump_json())
        return cls(mark, child)

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the worker and its group, if they are still the ones that were started."""
        now = start_ticks(self.pid)
        # A group outlives its leader under the same number; a number with another leader is a stranger's.
        if now is not None and now != self.mark.start_ticks:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def detach(self) -> None:
        """Watch it no longer and leave it alone."""
        self._forget_pidfd()
        if self._child is not None:
            # Popen complains of a child that nobody waited for; an adopting supervisor will.
            self._child.returncode = 0
        self.exited.cancel()

    def _reap(self) -> None:
        # The zombie still holds the number, so the rest of the group can be killed safely now.
        self.signal_group(signal.SIGKILL)
        self._forget_pidfd()
        code = _exit_code(self.pid)
        if self._child is not None:
            self._child.returncode = code if code is not None else 0
        if not self.exited.done():
            self.exited.set_result(code)

    def _poll(self) -> None:
        if self.exited.done():
            return
        if start_ticks(self.pid) == self.mark.start_ticks:
            asyncio.get_running_loop().call_later(_POLL_S, self._poll)
        else:
            self._reap()

    def _forget_pidfd(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None


def environment(spec: HostSpec) -> dict[str, str]:
    """The worker's environment: the agent's without what looks like a secret, and what the spec adds."""
    kept = {name: value for name, value in os.environ.items() if not _SECRET_NAME.search(name)}
    kept["PYTHONUNBUFFERED"] = "1"
    if spec.budget.cores is not None:
        kept["OMP_NUM_THREADS"] = str(max(1, round(spec.budget.cores)))
    root = Path(__file__).resolve().parents[2]
    # From a source tree the worker must find this package too; site-packages it finds, or has its own.
    if root != Path(sysconfig.get_path("purelib")).resolve():
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), kept.get("PYTHONPATH"))))
    return {**kept, **spec.environment}


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:  # gone already, or a kernel before 5.3
        return None


def _exit_code(pid: int) -> int | None:
    """Exit code of a child (negative: the signal); None for a process that is not our child."""
    try:
        _, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status)

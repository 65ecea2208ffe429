"""A memory node in a process of its own, as `fairlead memory-node` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlencode

from fairlead_tiered_retrieval.tiers import TierTimeout
from tests.patience import patient

Result = TypeVar("Result")

WAIT_S = patient(60.0)
TOKEN = "a token of the tests only"
COMMAND = "from fairlead_tiered_retrieval.tiers.command import memory_node; memory_node()"


class Node:
    """A running node; `port` is where it listens."""

    def __init__(self, *arguments: str, capacity: str = "64M", prefix: tuple[str, ...] = ()) -> None:
        environment = {**os.environ, "FAIRLEAD_MEMORY_TOKEN": TOKEN}
        command = [*prefix, sys.executable, "-c", COMMAND, "--port", "0", "--capacity", capacity, *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if "listens at" in line:
                self.port = int(line.rsplit(":", 1)[1])
                return
        raise AssertionError(f"the node did not start: {''.join(self.said)}")

    def url(self, name: str, scheme: str = "memory", **options: str | float) -> str:
        """A region's; unless it says otherwise it waits for a node that a busy machine keeps waiting."""
        return f"{scheme}://127.0.0.1:{self.port}/{name}?{urlencode({'timeout': WAIT_S, **options})}"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stall(self) -> None:
        """Stop it; every thread of it has when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> str:
        """Stop it as a service manager does; return all that it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        rest, _ = self.process.communicate(timeout=WAIT_S)
        return "".join(self.said) + rest


def patiently(work: Callable[[], Result]) -> Result:
    """Do something over a tier whose timeout is short, again and again until it is in time."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return work()
        except TierTimeout:
            assert time.monotonic() < deadline

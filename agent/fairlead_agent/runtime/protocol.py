"""The control protocol between agent and worker host: JSON lines on a Unix socket.

The agent sends requests ``{"id", "cookie", "op", ...}``; the host answers each with ``{"id", "ok": true, "result"}`` or
``{"id", "ok": false, "error", "kind"}``, and sends events ``{"event", ...}`` to connections that have said hello.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Frozen, Seconds
from fairlead_agent.messages.instance import InstanceState
from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.plugin.budget import Budget
from fairlead_agent.plugin.context import Peer

#: Longest line, either way: a checkpoint travels as base64 in one line.
MAX_LINE_BYTES = 96 * 2**20


class Operation(Frozen):
    """The fields of a request besides id, cookie and op."""

    OP: ClassVar[str] = ""


class Hello(Operation):
    """The adoption handshake: who are you, and from now on tell me of events."""

    OP: ClassVar[str] = "hello"


class Activate(Operation):
    """Hold an epoch until a time on this device's CLOCK_BOOTTIME."""

    OP: ClassVar[str] = "activate"

    epoch: int = Field(ge=1)
    expires_boottime_s: float = Field(allow_inf_nan=False)


class Extend(Activate):
    """Move the expiry of the epoch that is held."""

    OP: ClassVar[str] = "extend"


class Reconfigure(Operation):
    """Fit into a budget."""

    OP: ClassVar[str] = "reconfigure"

    budget: Budget
    deadline_s: Seconds


class Drain(Operation):
    """Take no new request and finish those under way."""

    OP: ClassVar[str] = "drain"

    deadline_s: Seconds


class Stop(Operation):
    """End; requests under way have ``grace_s``."""

    OP: ClassVar[str] = "stop"

    grace_s: Seconds = 2.0


class Status(Operation):
    """The liveness probe."""

    OP: ClassVar[str] = "status"


class Measure(Operation):
    """What was measured since the last time."""

    OP: ClassVar[str] = "measure"

    timeout_s: Seconds = 2.0


class Checkpoint(Operation):
    """Give the state that a successor may restore."""

    OP: ClassVar[str] = "checkpoint"

    deadline_s: Seconds = 30.0


class Restore(Operation):
    """Take a predecessor's state."""

    OP: ClassVar[str] = "restore"

    state_base64: str
    deadline_s: Seconds = 30.0


class Peers(Operation):
    """The instances of the workload now."""

    OP: ClassVar[str] = "peers"

    peers: tuple[Peer, ...]


OPERATIONS: dict[str, type[Operation]] = {
    each.OP: each
    for each in (Hello, Activate, Extend, Reconfigure, Drain, Stop, Status, Measure, Checkpoint, Restore, Peers)
}


class HostStatus(Frozen):
    """The answer to hello and status: all that the agent must know of its worker."""

    key: LeaseKey
    node: str
    variant: str
    generation: int
    pid: int
    state: InstanceState
    reason: str = ""
    epoch: int = 0
    expires_boottime_s: float = 0.0
    address: str | None = Field(default=None, description="http://host:port of the TCP data socket.")
    budget: Budget = Budget()
    started_s: float | None = Field(default=None, description="From the process's start to standby.")
    progress: float = 0.0
    progress_what: str = ""
    in_flight: int = 0
    answered: int = 0
    refused: int = 0
    cut: int = 0
    memory_bytes: int = Field(default=0, description="Of the worker process alone; not what can be dropped.")
    data_blocked_s: float = Field(default=0.0, description="For how long the data loop has not answered.")


class ControlError(RuntimeError):
    """The host refused a request. ``kind`` is the name of the error in the host."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class ControlLostError(ConnectionError):
    """The control connection broke, or there is none."""


def request_fields(operation: Operation) -> dict[str, Any]:
    """The fields of a request, with its op."""
    return {"op": operation.OP, **operation.model_dump(mode="json")}

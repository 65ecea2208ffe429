"""What runs where, as its node reports it."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Body, Frozen, Name, Reason
from fairlead_agent.messages.lease import LeaseKey


class InstanceState(StrEnum):
    """The life of an instance."""

    PREPARING = "preparing"
    STANDBY = "standby"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class InstanceReport(Frozen):
    """One instance on its node."""

    key: LeaseKey
    epoch: int = Field(ge=0, description="0: it holds no lease yet.")
    variant: Name
    state: InstanceState
    generation: int = Field(default=1, ge=1)
    address: str | None = Field(
        default=None, description="http://host:port of the data socket, where peers may reach it."
    )
    relay: bool = Field(default=True, description="True where requests may come over MQTT through its node.")
    simulated: bool = False
    pid: int | None = None
    started_s: float | None = Field(default=None, description="Measured start-up time in seconds.")
    restarts: int = 0
    memory_bytes: int | None = None
    limit_bytes: int | None = None
    limiter: str = Field(default="", description="What enforces the memory limit: cgroup-v2, cgroup-v1, watchdog.")
    throughput_per_s: float | None = Field(default=None, description="Measured, in the plugin's unit.")
    latency_p90_s: float | None = None
    reason: Reason = ""


class NodeInstances(Body):
    """Retained per node: all its instances."""

    TYPE: ClassVar[str] = "instances"

    node: Name
    incarnation: int = Field(ge=1)
    seq: int = Field(ge=0)
    instances: tuple[InstanceReport, ...] = ()

"""What the API answers. The OpenAPI file is made from these models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from fairlead_agent.messages import InstanceReport, NodeStatus, PlacementRecord, SlotPlacement, Workload
from fairlead_cloud.store import Role


class ErrorView(BaseModel):
    """Every error of this API."""

    detail: str = Field(description="One line: the field, its value and what is accepted, where that is the matter.")


class WorkloadView(BaseModel):
    """Desired state and how it stands."""

    name: str
    generation: int
    updated_at: float = Field(description="Unix seconds.")
    workload: Workload
    steward: str | None = None
    slots: tuple[SlotPlacement, ...] = ()
    instances: tuple[InstanceReport, ...] = ()
    ready: int = Field(default=0, description="Replicas that serve now.")
    told: dict[int, dict[str, float]] = Field(
        default_factory=dict[int, dict[str, float]],
        description="What plugins measured of their instances, by replica; names end in their unit.",
    )


class AppliedView(BaseModel):
    """The answer to apply."""

    name: str
    generation: int
    changed: bool = Field(description="False: the same workload stood already.")


class NodeView(BaseModel):
    """One node: its last birth or death, and what runs there."""

    status: NodeStatus
    instances: tuple[InstanceReport, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict, description="Attributes of the node's vertices, by vertex.")


class ExplainView(BaseModel):
    """Why a workload stands where it stands."""

    workload: str
    record: PlacementRecord | None
    lines: tuple[str, ...] = Field(description="The same in words.")


class LeaseView(BaseModel):
    """One row of the authority."""

    workload: str
    replica: int
    epoch: int
    node: str | None
    remaining_s: float


class LogView(BaseModel):
    """What one instance wrote."""

    node: str
    replica: int
    text: str = ""
    error: str = Field(default="", description="Why there is no text.")


class EventView(BaseModel):
    """One entry of the event log."""

    seq: int
    time: float
    type: str
    subject: str
    data: dict[str, Any]


class HealthView(BaseModel):
    """Whether the control plane works."""

    status: str
    site: str
    bus_connected: bool
    nodes_online: int
    version: str


class TokenRequest(BaseModel):
    """A new access token."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    role: Role


class TokenView(BaseModel):
    """A token: its text only in the answer that creates it."""

    name: str
    role: Role
    revoked: bool = False
    token: str | None = None

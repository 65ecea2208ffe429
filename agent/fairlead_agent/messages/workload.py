"""Desired state: what a user asks for."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from fairlead_agent.messages.base import Body, Frozen, Name, Seconds


class Objectives(Frozen):
    """What the user wants to hold (SLO) and what weighs how much when bids are compared."""

    latency_p90_s: Seconds | None = Field(default=None, description="Upper bound for the 90th percentile of latency.")
    throughput_min_per_s: float | None = Field(
        default=None, ge=0, description="Least throughput, in the plugin's unit."
    )
    energy_max_j: float | None = Field(default=None, ge=0, description="Most joules per unit of work.")
    startup_max_s: Seconds | None = Field(default=None, description="Longest accepted start-up time.")
    weights: dict[Literal["latency", "throughput", "energy", "startup", "transfer", "memory"], float] = Field(
        default_factory=lambda: {
            "latency": 1.0,
            "throughput": 1.0,
            "energy": 0.3,
            "startup": 0.1,
            "transfer": 0.1,
            "memory": 0.1,
        },
        description="Weights of the score terms; 0 switches a term off.",
    )


class Constraints(Frozen):
    """Which nodes and variants may serve at all."""

    nodes: tuple[str, ...] = Field(default=(), description="Only these nodes; empty: any.")
    exclude_nodes: tuple[str, ...] = Field(default=(), description="Never these nodes.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels that a node's profile must carry.")
    variants: tuple[str, ...] = Field(default=(), description="Only these variants; empty: any.")
    spread: Literal["node", "none"] = Field(
        default="node", description="node: two replicas never share a node; none: they may."
    )


class PlacementPolicy(Frozen):
    """Who issues epochs and what a cut-off holder does."""

    guarantee: Literal["at-most-once", "available"] = "at-most-once"
    on_partition: Literal["stop", "keep"] = "stop"
    ttl_s: float | None = Field(default=None, ge=0.5, le=3600, description="Lease TTL; default: the site's.")


class Workload(Frozen):
    """A plugin, a config, replicas, objectives, constraints, priority."""

    name: Name
    plugin: Name
    config: dict[str, Any] = Field(default_factory=dict, description="Checked by the plugin's own schema.")
    replicas: int = Field(default=1, ge=0, le=1000)
    priority: int = Field(default=50, ge=0, le=100, description="Higher goes first when room is short.")
    objectives: Objectives = Objectives()
    constraints: Constraints = Constraints()
    placement: PlacementPolicy = PlacementPolicy()


class SignedWorkload(Body):
    """Desired state as it is retained: the exact signed text, and the signature over it.

    ``payload`` is the JSON of ``{"site", "name", "generation", "deleted", "workload"}``. It is kept as text, because a
    signature covers bytes. See :mod:`fairlead_agent.messages.signing`.
    """

    TYPE: ClassVar[str] = "workload"

    payload: str
    key_id: str = Field(max_length=128, description="Which key of the site signed it.")
    signature: str = Field(max_length=256, description="Ed25519 over the UTF-8 bytes of payload, base64.")

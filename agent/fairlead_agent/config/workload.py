"""Workload files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from fairlead_agent.config.document import construct, line_of, read_nodes
from fairlead_agent.config.errors import ConfigError
from fairlead_agent.config.found import config_path
from fairlead_agent.config.load import Strict, load_documents
from fairlead_agent.config.units import Duration
from fairlead_agent.messages.base import Name
from fairlead_agent.messages.workload import Constraints, Objectives, PlacementPolicy, Workload

Weight = Annotated[float, Field(ge=0, le=1e6)]
Term = Literal["latency", "throughput", "energy", "startup", "transfer", "memory"]


class ObjectivesFile(Strict):
    """What is to hold, and what weighs how much when bids are compared."""

    latency_p90: Duration | None = Field(default=None, description="Bound for the 90th percentile of latency.")
    throughput_min_per_s: float | None = Field(
        default=None, ge=0, le=1e18, description="In the plugin's unit, e.g. tokens."
    )
    energy_max_j: float | None = Field(default=None, ge=0, le=1e18, description="Most joules per unit of work.")
    startup_max: Duration | None = Field(default=None, description="Longest accepted start-up time.")
    weights: dict[Term, Weight] | None = Field(
        default=None, description="What each term of a bid's score weighs; 0 switches a term off."
    )

    def objectives(self) -> Objectives:
        """As they travel."""
        values: dict[str, Any] = {
            "latency_p90_s": self.latency_p90,
            "throughput_min_per_s": self.throughput_min_per_s,
            "energy_max_j": self.energy_max_j,
            "startup_max_s": self.startup_max,
        }
        if self.weights is not None:
            values["weights"] = {**Objectives().weights, **self.weights}
        return Objectives(**values)


class ConstraintsFile(Strict):
    """Which nodes and variants may serve at all."""

    nodes: tuple[Name, ...] = Field(default=(), description="Only these nodes; empty: any.")
    exclude_nodes: tuple[Name, ...] = Field(default=(), description="Never these nodes.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels that a node's profile must carry.")
    variants: tuple[Name, ...] = Field(default=(), description="Only these variants; empty: any.")
    spread: Literal["node", "none"] = Field(default="node", description="node: two replicas never share a node.")


class PlacementFile(Strict):
    """Who issues epochs, and what a cut-off holder does."""

    guarantee: Literal["at-most-once", "available"] = Field(
        default="at-most-once", description="Who issues epochs: the authority, or the site by delegation."
    )
    on_partition: Literal["stop", "keep"] = Field(
        default="stop", description="What a holder does that cannot renew its lease."
    )
    ttl: Duration | None = Field(default=None, ge=0.5, le=3600, description="Lease TTL; default: the site's.")


class WorkloadFile(Strict):
    """One workload."""

    kind: Literal["Workload"] = Field(default="Workload", description="What this document is.")
    version: Literal["fairlead/1"] = Field(default="fairlead/1", description="The version of this format.")
    name: Name = Field(description="Its name in the site; also the model's id in the OpenAI-compatible API.")
    plugin: Name = Field(description="The plugin that serves it.")
    config: dict[str, Any] = Field(default_factory=dict, description="Checked by the plugin.")
    replicas: int = Field(default=1, ge=0, le=1000, description="How many instances serve it.")
    priority: int = Field(default=50, ge=0, le=100, description="Higher goes first when room is short.")
    objectives: ObjectivesFile = Field(default=ObjectivesFile(), description="What is to hold.")
    constraints: ConstraintsFile = Field(default=ConstraintsFile(), description="Who may serve at all.")
    placement: PlacementFile = Field(default=PlacementFile(), description="Epochs and partitions.")

    def workload(self) -> Workload:
        """As it travels."""
        placement = self.placement
        return Workload(
            name=self.name,
            plugin=self.plugin,
            config=self.config,
            replicas=self.replicas,
            priority=self.priority,
            objectives=self.objectives.objectives(),
            constraints=Constraints(**self.constraints.model_dump()),
            placement=PlacementPolicy(
                guarantee=placement.guarantee, on_partition=placement.on_partition, ttl_s=placement.ttl
            ),
        )


def load_workloads(path: Path | str) -> list[Workload]:
    """Read all workloads of a file (several YAML documents are several workloads), by path or shipped name.

    Raises:
        ConfigError: the file is missing, empty, or does not fit.
    """
    found = config_path("workloads", str(path))
    workloads = [document.workload() for document in load_documents(found, WorkloadFile)]
    if not workloads:
        raise ConfigError(f"{found}: holds no workload")
    return workloads


def config_line(path: Path | str, name: str, key: str) -> str:
    """``FILE:LINE`` of a key (dotted) in the plugin's config of one workload of a file, for what its plugin refuses.

    Where the key is not there, the line is that of the nearest thing around it.

    Raises:
        ConfigError: the file can no longer be read.
    """
    found = config_path("workloads", str(path))
    place = ("config", *(int(level) if level.isdigit() else level for level in key.split(".")))
    for node in read_nodes(found):
        value = construct(found, node)
        if isinstance(value, dict) and cast("dict[str, Any]", value).get("name") == name:
            return f"{found}:{line_of(node, place)}"
    return str(found)

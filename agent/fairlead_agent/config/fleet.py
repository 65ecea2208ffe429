"""Fleet files: what `fairlead up` starts."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fairlead_agent.config.found import config_path
from fairlead_agent.config.load import Strict, load_yaml
from fairlead_agent.config.units import Duration
from fairlead_agent.messages.base import Name


class AgentEntry(Strict):
    """One agent of a fleet."""

    name: Name = Field(description="The node's name.")
    profile: str = Field(description="A profile's name, or the path of its file.")


class FleetConfig(Strict):
    """Broker, control plane and agents on one machine."""

    site: Name = Field(default="local", description="The site that these nodes form.")
    lease_ttl: Duration = Field(default=3.0, ge=0.5, le=3600, description="How soon a lost holder is replaced.")
    dwell: Duration = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Least time that a replica stays in its place; doubles with each move.",
    )
    control_plane_port: int = Field(default=8470, ge=0, le=65535, description="0: any free port.")
    authority: Literal["control-plane", "stand-alone"] = Field(
        default="control-plane",
        description="Who issues epochs. stand-alone: a process of its own, so that nodes can be stewards while the "
        "control plane is away.",
    )
    agents: tuple[AgentEntry, ...] = Field(min_length=1, max_length=100, description="One node each.")
    workloads: tuple[str, ...] = Field(default=(), description="Applied at start: names or paths of workload files.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [agent.name for agent in self.agents]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"agents: {', '.join(twice)} stands twice; every agent has a name of its own")
        return self

    @property
    def lease_ttl_s(self) -> float:
        """The lease TTL in seconds."""
        return self.lease_ttl


def load_fleet(name: str) -> FleetConfig:
    """Read a fleet by name or path.

    Raises:
        ConfigError: it is missing or does not fit.
    """
    return load_yaml(config_path("fleets", name), FleetConfig)

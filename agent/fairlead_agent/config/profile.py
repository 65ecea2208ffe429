"""Profiles: what an agent may give away of its device, and what it pretends to have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead_agent.config.found import config_path
from fairlead_agent.config.load import Strict, load_yaml
from fairlead_agent.config.units import BitRate, ByteRate, Duration, Size
from fairlead_agent.messages.base import Name


class ProfileBudget(Strict):
    """The most that all workloads together may use on this device. What is left out is what the hardware has."""

    dram: Size | None = Field(default=None, description="Main memory, e.g. 512 MiB.")
    storage: Size | None = Field(default=None, description="Disk for artifacts and caches.")
    cores: float | None = Field(default=None, gt=0, le=4096, description="Processor cores.")


class SimulatedGpu(Strict):
    """A GPU that is not there. It never wins a variant that needs a real one."""

    name: str = Field(default="simulated GPU", max_length=100, description="What the graph calls it.")
    memory: Size = Field(description="Its memory, e.g. 24 GiB.")


class SimulatedBattery(Strict):
    """A battery that is not there."""

    charge: float = Field(ge=0, le=1, description="Share of a full battery, 0 to 1.")
    charging: bool = Field(default=False, description="Whether it is plugged in.")


class SimulatedLink(Strict):
    """A link as the profile states it, instead of as measured."""

    peer: Name = Field(description="The node at the other end; 'gateway' for the way to clients.")
    bandwidth: BitRate = Field(description="E.g. 100 Mbit/s.")
    latency: Duration = Field(description="One way, e.g. 5 ms.")


class Simulated(Strict):
    """Hardware that the profile only pretends to have. All of it is marked so in the graph."""

    gpus: tuple[SimulatedGpu, ...] = Field(default=(), description="GPUs that are not there.")
    battery: SimulatedBattery | None = Field(default=None, description="A battery that is not there.")
    links: tuple[SimulatedLink, ...] = Field(default=(), description="Links as stated instead of as measured.")
    speed_factor: float = Field(
        default=1.0, gt=0, le=1, description="Estimates count the processor as this share of what it is."
    )
    memory_bandwidth: ByteRate | None = Field(default=None, description="Instead of the measured bandwidth.")


class Power(Strict):
    """What the device draws, for estimates of energy."""

    idle_watts: float | None = Field(default=None, ge=0, le=1e6, description="What the device draws at rest.")
    core_watts: float | None = Field(default=None, ge=0, le=1e6, description="What one busy core adds.")


class Policy(Strict):
    """What the owner of the device allows."""

    steward: bool = Field(default=True, description="Whether this node may negotiate the placement of workloads.")
    reachable: Literal["direct", "mqtt-only"] = Field(
        default="direct", description="direct: peers may open connections to its workers; mqtt-only: never."
    )
    battery_min: float = Field(default=0.15, ge=0, le=1, description="Below this charge it takes no new workload.")
    memory_reserve: Size = Field(default=64 << 20, description="Main memory that workloads always leave free.")
    memory_pressure_max: float = Field(
        default=0.4, ge=0, le=1, description="Above this share of time stalled on memory it takes no new workload."
    )


class AgentProfile(Strict):
    """What kind of device an agent runs on."""

    name: Name = Field(description="The profile's name; a workload's constraints ask for labels, not for this.")
    summary: str = Field(default="", description="One line for people.")
    labels: dict[str, str] = Field(default_factory=dict, description="Workloads may ask for them.")
    budget: ProfileBudget = Field(default=ProfileBudget(), description="The most that workloads may use; enforced.")
    simulated: Simulated = Field(default=Simulated(), description="What the profile only pretends to have.")
    power: Power = Field(default=Power(), description="What the device draws.")
    policy: Policy = Field(default=Policy(), description="What the device's owner allows.")

    def renewed(self, newer: AgentProfile) -> tuple[AgentProfile, tuple[str, ...]]:
        """Return this profile with what a running agent takes over of a newer one, and the fields that need a restart.

        The node's name for its profile, its labels and its part in the site were told to others at its start.
        """
        kept = {"name": self.name, "labels": self.labels}
        kept_policy = {"steward": self.policy.steward, "reachable": self.policy.reachable}
        left = [name for name, value in kept.items() if getattr(newer, name) != value]
        left += [f"policy.{name}" for name, value in kept_policy.items() if getattr(newer.policy, name) != value]
        policy = newer.policy.model_copy(update=kept_policy)
        return newer.model_copy(update={**kept, "policy": policy}), tuple(left)


def load_profile(name: str) -> AgentProfile:
    """Read a profile by name or path.

    Raises:
        ConfigError: it is missing or does not fit.
    """
    return load_yaml(config_path("profiles", name), AgentProfile)

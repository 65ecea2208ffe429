"""What a worker host is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from fairlead_agent.messages.base import Frozen, Name
from fairlead_agent.messages.estimate import Estimate
from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.plugin.budget import Budget
from fairlead_agent.plugin.facts import NodeFacts
from fairlead_agent.runtime.files import write_private

#: ``sun_path`` of Linux holds 108 bytes, the last of them NUL.
SOCKET_PATH_MAX_BYTES = 107


class SpecError(ValueError):
    """A spec file that cannot be read; the text names the file, the field, the value and what is accepted."""


InstanceName = tuple[LeaseKey, str]
"""An instance's lease key and the negotiation that led to it: while a replica moves, two instances have one key."""


class InstanceSpec(Frozen):
    """What to run: made by the agent from an award and the plugin's manifest."""

    key: LeaseKey
    negotiation: str = Field(default="", max_length=128, description="Which negotiation led to it.")
    plugin: str = Field(default="", description="The plugin's name.")
    ttl_s: float = Field(default=15.0, gt=0, description="Lease TTL, for an agent that adopts the instance.")
    estimate: Estimate | None = Field(default=None, description="What was promised to the steward.")
    raw_estimate: Estimate | None = Field(default=None, description="What the plugin estimated, uncorrected.")
    variant: Name
    generation: int = Field(default=1, ge=1)
    node: Name
    worker: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", description="'module:object' with worker hooks.")
    python: Path | None = Field(default=None, description="The worker's interpreter; None: the agent's own.")
    sys_path: tuple[Path, ...] = Field(default=(), description="Folders put first on the worker's sys.path.")
    config: dict[str, Any] = Field(default_factory=dict)
    budget: Budget = Budget()
    cache_dir: Path = Field(description="Outlives the instance.")
    artifacts: dict[str, Path] = Field(default_factory=dict, description="Local paths of artifacts by digest.")
    facts: NodeFacts | None = Field(default=None, description="The node as it was when the instance was awarded.")
    tcp_host: str | None = Field(default=None, description="Address to serve data on, where peers may reach it.")
    tcp_port: int = Field(default=0, ge=0, le=65535, description="0: any free port, which the worker reports.")
    environment: dict[str, str] = Field(default_factory=dict, description="Added to the agent's environment.")
    expiry_grace_s: float = Field(default=5.0, ge=0, description="From the lease's expiry to the worker's own exit.")
    orphan_s: float = Field(default=60.0, gt=0, description="A worker without lease and agent exits after this long.")
    simulated: bool = False

    @property
    def name(self) -> InstanceName:
        """What tells it from all other instances of the node."""
        return (self.key, self.negotiation)


class HostSpec(InstanceSpec):
    """An :class:`InstanceSpec` and where its worker lives on this node. Lies in the instance's folder, mode 0600."""

    folder: Path
    data_socket: Path
    control_socket: Path
    cookie: str = Field(min_length=16, repr=False, description="Who knows it may use the control socket.")

    @field_validator("data_socket", "control_socket")
    @classmethod
    def _fits(cls, path: Path) -> Path:
        if len(str(path).encode()) > SOCKET_PATH_MAX_BYTES:
            raise ValueError(f"{path} is longer than {SOCKET_PATH_MAX_BYTES} bytes, which no Unix socket can have")
        return path

    @property
    def path(self) -> Path:
        return self.folder / "spec.json"

    @property
    def outcome_path(self) -> Path:
        return self.folder / "outcome.json"

    @property
    def log_path(self) -> Path:
        return self.folder / "worker.log"

    def write(self) -> None:
        """Write it to its place."""
        write_private(self.path, self.model_dump_json(indent=1))


class Outcome(Frozen):
    """Why a worker ended, in its own words; the last thing that it writes."""

    code: int
    reason: str


def read_spec(path: Path) -> HostSpec:
    """Read a spec file.

    Raises:
        SpecError: it is missing, no JSON, or a field does not fit.
    """
    try:
        return HostSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SpecError(f"{path}: {field}: {first['msg']}") from None


def read_outcome(path: Path) -> Outcome | None:
    """What the worker left, or None where it could not write any more."""
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None

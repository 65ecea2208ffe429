"""What a plugin gets in its worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from fairlead_agent.messages.base import Frozen
from fairlead_agent.plugin.budget import Budget


class Peer(Frozen):
    """Another instance of the same workload (or of its gang)."""

    workload: str
    replica: int
    node: str
    epoch: int
    address: str | None = Field(description="http://host:port of its data socket; None where only MQTT reaches it.")


class Logger(Protocol):
    """The part of a structlog logger that plugins use."""

    def debug(self, event: str, **values: Any) -> Any: ...

    def info(self, event: str, **values: Any) -> Any: ...

    def warning(self, event: str, **values: Any) -> Any: ...

    def error(self, event: str, **values: Any) -> Any: ...


class Context(Protocol):
    """The worker host's side of the contract."""

    @property
    def workload(self) -> str:
        """Name of the workload."""
        ...

    @property
    def replica(self) -> int:
        """Which replica this instance is."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of its lease, held now or last; 0: none yet."""
        ...

    @property
    def node(self) -> str:
        """The node it runs on."""
        ...

    @property
    def instance(self) -> str:
        """Its vertex in the resource graph; what `publish_fact` tells of it is seen in `fairlead get`."""
        ...

    @property
    def host(self) -> str | None:
        """The address at which peers reach this node; None where only MQTT does."""
        ...

    @property
    def variant(self) -> str:
        """The variant that was awarded."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The workload's config, as ``validate`` returned it."""
        ...

    @property
    def budget(self) -> Budget:
        """The budget in force."""
        ...

    @property
    def cache_dir(self) -> Path:
        """A directory of the node that outlives the instance: converted weights, indexes."""
        ...

    @property
    def log(self) -> Logger:
        """A structlog logger bound to workload, replica and epoch."""
        ...

    @property
    def metrics(self) -> Any:
        """A ``prometheus_client.CollectorRegistry``; imported when first asked for."""
        ...

    def artifact(self, digest: str) -> Path:
        """The local path of an artifact, by digest.

        Raises:
            FileNotFoundError: the node does not have it.
        """
        ...

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        """Put a measured fact into the resource graph through this node. SI units, named by ``attribute``."""
        ...

    def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        """The instances of the workload: once at first, then at every change."""
        ...

    def progress(self, share: float, what: str) -> None:
        """Say how far ``prepare`` is: 0 to 1, and what it does now."""
        ...

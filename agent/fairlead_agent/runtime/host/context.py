"""The host's side of :class:`fairlead_agent.plugin.Context`."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fairlead_agent.graph.keys import instance_id
from fairlead_agent.plugin.budget import Budget
from fairlead_agent.plugin.context import Logger, Peer
from fairlead_agent.plugin.facts import NodeFacts
from fairlead_agent.runtime.host.lease import HeldLease
from fairlead_agent.runtime.host.peers import PeerBoard
from fairlead_agent.runtime.spec import HostSpec

Emit = Callable[..., None]
_PROGRESS_INTERVAL_S = 0.25


class WorkerContext:
    """What the plugin gets. ``emit`` sends an event to the agent, from any thread."""

    def __init__(self, spec: HostSpec, lease: HeldLease, peers: PeerBoard, emit: Emit) -> None:
        self._spec = spec
        self._lease = lease
        self._peers = peers
        self._emit = emit
        self._budget = spec.budget
        self._registry: Any = None
        self._progress_at_s = -_PROGRESS_INTERVAL_S

    @property
    def workload(self) -> str:
        return self._spec.key.workload

    @property
    def replica(self) -> int:
        return self._spec.key.replica

    @property
    def node(self) -> str:
        return self._spec.node

    @property
    def instance(self) -> str:
        return instance_id(self.node, self.workload, self.replica)

    @property
    def host(self) -> str | None:
        return self._spec.tcp_host

    @property
    def variant(self) -> str:
        return self._spec.variant

    @property
    def epoch(self) -> int:
        """The epoch held now or last; 0: none yet."""
        return self._lease.epoch

    @property
    def config(self) -> Mapping[str, Any]:
        return MappingProxyType(self._spec.config)

    @property
    def facts(self) -> NodeFacts | None:
        """The node as it was when the instance was awarded."""
        return self._spec.facts

    @property
    def budget(self) -> Budget:
        return self._budget

    def set_budget(self, budget: Budget) -> None:
        """Called by the host once a new budget is in force."""
        self._budget = budget

    @property
    def cache_dir(self) -> Path:
        self._spec.cache_dir.mkdir(parents=True, exist_ok=True)
        return self._spec.cache_dir

    @cached_property
    def log(self) -> Logger:
        from fairlead_agent.runtime.logging import worker_logger

        return worker_logger(self._spec.key, lambda: self._lease.epoch)

    @property
    def metrics(self) -> Any:
        if self._registry is None:
            from prometheus_client import CollectorRegistry

            self._registry = CollectorRegistry()
        return self._registry

    def exposition(self) -> bytes | None:
        """The metrics in Prometheus's text format, or None where the plugin never asked for them."""
        if self._registry is None:
            return None
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def artifact(self, digest: str) -> Path:
        path = self._spec.artifacts.get(digest)
        if path is None or not path.exists():
            raise FileNotFoundError(f"artifact {digest} is not on node {self._spec.node}")
        return path

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        if not (math.isfinite(value) and math.isfinite(uncertainty)):
            raise ValueError(f"fact {vertex}.{attribute} is {value} +- {uncertainty}, accepted are finite numbers")
        self._emit("fact", vertex=vertex, attribute=attribute, value=float(value), uncertainty=float(uncertainty))

    def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        return self._peers.stream()

    def progress(self, share: float, what: str) -> None:
        # Every event becomes a message of the node; a loop over tensors must not flood the site.
        now_s = time.monotonic()
        if share < 1.0 and now_s - self._progress_at_s < _PROGRESS_INTERVAL_S:
            return
        self._progress_at_s = now_s
        self._emit("progress", share=min(1.0, max(0.0, share)), what=what[:200])

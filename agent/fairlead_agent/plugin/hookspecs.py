"""The hooks of a plugin.

The light hooks run in the agent, in a bounded pool and under a deadline; the others run in the worker. They are
pluggy hooks, but each plugin is called alone, so that one plugin that raises cannot take others with it.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy
from pydantic import Field

from fairlead_agent.messages.base import Frozen
from fairlead_agent.messages.estimate import Estimate, Refusal
from fairlead_agent.messages.workload import Workload
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.plugin.context import Context
from fairlead_agent.plugin.facts import NodeFacts

#: Version of this contract. A manifest names the range that it was written for.
API_VERSION = "1.0"

PROJECT = "fairlead"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Description(Frozen):
    """What ``describe`` says of a plugin on this node."""

    summary: str = ""
    software: dict[str, str] = Field(default_factory=dict, description="Back-ends found, by name.")


class LightHooks:
    """Hooks of the light module. None of them may import heavy code, open files for long, or block."""

    @hookspec(firstresult=True)
    def describe(self) -> Description | None:
        """Say what the plugin is and which back-ends it would use here."""

    @hookspec(firstresult=True)
    def probe(self, facts: NodeFacts) -> dict[str, str] | None:
        """Look at the node once at start; the answer becomes ``facts.software`` for later estimates."""

    @hookspec(firstresult=True)
    def estimate(self, workload: Workload, variant: str, facts: NodeFacts) -> Estimate | Refusal | None:
        """Predict what ``variant`` would do for ``workload`` on this node now, or say why it cannot."""

    @hookspec(firstresult=True)
    def validate(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """Check a workload's config and fill in defaults.

        Raises:
            ValueError: names the field, the value and what is accepted.
        """


class WorkerHooks(Protocol):
    """What the worker module offers. All but ``application`` are optional; sync or async."""

    def prepare(self, context: Context) -> None:
        """Fetch and convert what is needed, reporting progress. Runs before the instance holds a lease."""

    def application(self, context: Context) -> Any:
        """Return the ASGI application that serves the workload."""

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Fit into ``budget`` within ``deadline_s`` seconds."""
        ...

    def drain(self) -> None:
        """Finish what is under way; no new request will come."""

    def checkpoint(self) -> bytes:
        """Return the state that a successor on another node may restore."""
        ...

    def restore(self, state: bytes) -> None:
        """Take over a predecessor's state."""

    def measurements(self) -> dict[str, float]:
        """What was measured since the last call: ``throughput_per_s``, ``latency_p90_s``, ``energy_j``."""
        ...

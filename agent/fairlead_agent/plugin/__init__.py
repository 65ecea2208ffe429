"""The contract between the agent and its plugins: everything that a plugin imports, and how plugins are found.

A plugin is a capability with a YAML manifest. The manifest names a *light module* (imported by the agent: standard
library, pydantic and this package only) and a *worker module* (imported in a worker process only, where all heavy
code lives). See ``docs/plugins.md``.
"""

from fairlead_agent.messages.estimate import Estimate, Quantiles, Refusal
from fairlead_agent.messages.workload import Workload
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.plugin.complaints import checked, complaint
from fairlead_agent.plugin.context import Context, Peer
from fairlead_agent.plugin.facts import BatteryFacts, GpuFacts, LinkFacts, MemoryFacts, NodeFacts, ProcessorFacts
from fairlead_agent.plugin.hookspecs import API_VERSION, Description, LightHooks, WorkerHooks, hookimpl, hookspec

__all__ = [
    "API_VERSION",
    "BatteryFacts",
    "Budget",
    "BudgetReply",
    "Context",
    "Description",
    "Estimate",
    "GpuFacts",
    "LightHooks",
    "LinkFacts",
    "MemoryFacts",
    "NodeFacts",
    "Peer",
    "ProcessorFacts",
    "Quantiles",
    "Refusal",
    "WorkerHooks",
    "Workload",
    "checked",
    "complaint",
    "hookimpl",
    "hookspec",
]

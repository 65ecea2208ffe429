"""What can hold workers to their memory budgets."""

from __future__ import annotations

from fairlead_agent.cli.doctor.check import Check, Finding


class MemoryLimits(Check):
    """A cgroup is exact; the watchdog looks a few times a second."""

    name = "memory limits"
    question = "What enforces memory budgets?"

    def run(self) -> Finding:
        """Look."""
        from fairlead_bridge.cgroup import ControlGroupSensor
        from fairlead_bridge.reading import Missing

        group = ControlGroupSensor().read()
        if isinstance(group, Missing):
            return Finding("warning", f"the RSS watchdog: {group.why}", "run the agent where it may make cgroups")
        delegation = group.delegation
        if isinstance(delegation, Missing):
            return Finding("warning", f"the RSS watchdog: {delegation.why}", "delegate a cgroup to the agent")
        if not delegation.possible:
            return Finding("warning", f"the RSS watchdog: {delegation.obstacle}", "delegate a cgroup to the agent")
        return Finding("ok", f"cgroup {group.version} memory controller at {delegation.directory}")

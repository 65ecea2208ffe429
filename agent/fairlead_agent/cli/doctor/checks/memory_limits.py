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
        if group.memory_writable:
            return Finding("ok", f"cgroup v{group.version} memory controller")
        return Finding("warning", "the RSS watchdog: the cgroup is not writable", "delegate a cgroup to the agent")

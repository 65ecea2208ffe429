"""Which limiter this node gets, and why."""

from __future__ import annotations

from pathlib import Path

from fairlead_agent.runtime.limits.cgroup_v1 import CgroupV1Limiter
from fairlead_agent.runtime.limits.cgroup_v2 import CgroupV2Limiter
from fairlead_agent.runtime.limits.confinement import LimitBusyError, Limiter
from fairlead_agent.runtime.limits.watchdog import WatchdogLimiter
from fairlead_bridge.cgroup import ControlGroupSensor, Delegation
from fairlead_bridge.reading import Missing

_PROBE_LIMIT_BYTES = 64 * 2**20


def choose_limiter(name: str, sensor: ControlGroupSensor | None = None) -> Limiter:
    """The strongest limiter that works here, proved by making a group and taking it away again.

    Args:
        name: the group below which this agent makes its own; no other agent of the device may use it.
        sensor: how control groups are found.
    """
    group = (sensor or ControlGroupSensor()).read()
    if isinstance(group, Missing):
        return WatchdogLimiter(why=str(group))
    if isinstance(group.delegation, Missing):
        return WatchdogLimiter(why=str(group.delegation))
    if not group.delegation.possible:
        return WatchdogLimiter(why=group.delegation.obstacle)
    try:
        limiter = _cgroup_limiter(group.version, group.delegation, name)
        limiter.confine("probe", _PROBE_LIMIT_BYTES).remove()
    except (OSError, LimitBusyError) as error:
        return WatchdogLimiter(why=f"cgroup-{group.version} does not work here: {error}")
    return limiter


def _cgroup_limiter(version: str, delegation: Delegation, name: str) -> Limiter:
    directory, why = Path(delegation.directory), f"{delegation.directory} is writable"
    if version == "v2":
        return CgroupV2Limiter(directory, name, must_move_self=delegation.must_move_self, why=why)
    return CgroupV1Limiter(directory / name, why=why)

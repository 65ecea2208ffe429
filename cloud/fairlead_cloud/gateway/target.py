"""Which instances may answer for a workload now: pure choice by lease epoch and load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fairlead_agent.messages import InstanceReport, InstanceState, LeaseKey


@dataclass(frozen=True, slots=True)
class Target:
    """An instance that holds the lease of ``key`` at ``epoch``."""

    key: LeaseKey
    epoch: int
    node: str
    address: str | None

    @property
    def direct(self) -> bool:
        """Whether it is reached by HTTP; else over MQTT through its node."""
        return self.address is not None


#: Says whether ``node`` holds the live lease of ``key`` at exactly ``epoch``.
Holds = Callable[[LeaseKey, int, str], bool]


def ready_targets(instances: Iterable[tuple[str, InstanceReport]], holds: Holds) -> list[Target]:
    """All instances that say they are ready and whose epoch the authority knows as current."""
    return [
        Target(report.key, report.epoch, node, report.address)
        for node, report in instances
        if _serves(report) and holds(report.key, report.epoch, node)
    ]


def _serves(report: InstanceReport) -> bool:
    return report.state is InstanceState.READY and (report.address is not None or report.relay)


def pick(targets: Iterable[Target], in_flight: Mapping[Target, int], tried: set[Target]) -> Target | None:
    """The target with the fewest requests under way; a direct one before one behind MQTT; None: all were tried."""
    fresh = [target for target in targets if target not in tried]
    if not fresh:
        return None
    return min(fresh, key=lambda target: (in_flight.get(target, 0), not target.direct, target.key.replica, target.node))

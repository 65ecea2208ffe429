"""What a steward has heard of the site."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fairlead_agent.messages import (
    InstanceReport,
    InstanceState,
    LeaseKey,
    NodeInstances,
    NodeStatus,
    PlacementRecord,
    SlotPlacement,
)
from fairlead_agent.placement.settings import PlacementSettings

#: Steward rank of a control plane.
CONTROL_PLANE_RANK = 2


@dataclass(slots=True)
class World:
    """Nodes, their reports and retained records, each with the local time at which it came."""

    site: str
    node: str
    rank: int
    settings: PlacementSettings
    new_id: Callable[[], str]
    statuses: dict[str, NodeStatus] = field(default_factory=dict[str, NodeStatus])
    offline_since: dict[str, float] = field(default_factory=dict[str, float])
    reports: dict[str, NodeInstances] = field(default_factory=dict[str, NodeInstances])
    reported_at: dict[str, float] = field(default_factory=dict[str, float])
    failed_since: dict[str, dict[tuple[LeaseKey, int], float]] = field(
        default_factory=dict[str, dict[tuple[LeaseKey, int], float]]
    )
    """By node: since when instances have been reported as failed, by key and epoch."""
    records: dict[str, dict[str, PlacementRecord]] = field(default_factory=dict[str, dict[str, PlacementRecord]])

    def heard_status(self, status: NodeStatus, now: float) -> NodeStatus | None:
        """Take a birth or death; returns what was known before. News of an older incarnation changes nothing."""
        before = self.statuses.get(status.node)
        if before is not None and status.incarnation < before.incarnation:
            return before
        self.statuses[status.node] = status
        if status.online:
            self.offline_since.pop(status.node, None)
        else:
            self.offline_since.setdefault(status.node, now)
        return before

    def heard_report(self, report: NodeInstances, now: float) -> bool:
        """Take a report; False: a newer one is known."""
        known = self.reports.get(report.node)
        if known is not None and (report.incarnation, report.seq) < (known.incarnation, known.seq):
            return False
        self.reports[report.node] = report
        self.reported_at[report.node] = now
        known_failures = self.failed_since.get(report.node, {})
        failed = [(i.key, i.epoch) for i in report.instances if i.state is InstanceState.FAILED]
        self.failed_since[report.node] = {name: known_failures.get(name, now) for name in failed}
        return True

    def heard_record(self, record: PlacementRecord) -> None:
        """Take a retained record of any steward."""
        by_steward = self.records.setdefault(record.workload, {})
        known = by_steward.get(record.steward)
        if known is None or record.seq >= known.seq:
            by_steward[record.steward] = record

    def online(self, node: str) -> bool:
        """True where the node is known to be there."""
        status = self.statuses.get(node)
        return status is not None and status.online

    def online_nodes(self) -> Iterable[str]:
        """The nodes that should answer a call."""
        return (node for node, status in self.statuses.items() if status.online and _bids(status))

    def instance(self, node: str, key: LeaseKey, epoch: int) -> InstanceReport | None:
        """What a node reports of one instance; ``epoch`` 0: of one that holds no lease."""
        report = self.reports.get(node)
        if report is None:
            return None
        return next((i for i in report.instances if i.epoch == epoch and i.key == key), None)

    def recorded(self, key: LeaseKey, epoch: int) -> SlotPlacement | None:
        """What any steward recorded of an epoch."""
        for record in self.records.get(key.workload, {}).values():
            for slot in record.slots:
                if slot.epoch == epoch and slot.key == key:
                    return slot
        return None

    def next_seq(self, workload: str) -> int:
        """A sequence number above those of all records of a workload."""
        return 1 + max((record.seq for record in self.records.get(workload, {}).values()), default=0)


def _bids(status: NodeStatus) -> bool:
    """A control plane is a steward that runs no workloads itself."""
    return status.steward_rank < CONTROL_PLANE_RANK or bool(status.plugins)

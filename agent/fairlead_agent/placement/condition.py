"""Judge how the holder of a slot is doing."""

from __future__ import annotations

from fairlead_agent.messages import InstanceReport, InstanceState, Workload
from fairlead_agent.placement.constraints import node_refusal
from fairlead_agent.placement.slot import Condition, LeaseView, Slot
from fairlead_agent.placement.world import World

#: An instance that never served and failed once is given up for the next best offer.
BROKEN_STATES = (InstanceState.FAILED, InstanceState.QUARANTINED)
#: One that serves is started again by its agent, which is quicker than another node; not for ever.
RESTARTS_ALLOWED = 2


def judge(slot: Slot, workload: Workload, generation: int, digest: str, world: World, now: float) -> Condition:
    """The condition of a slot's holder, from the authority's word, the node's status and its report."""
    lease = slot.lease
    if lease is None or lease.node is None or lease.expired:
        return Condition.EMPTY
    gone_since = world.offline_since.get(lease.node)
    if gone_since is not None and lease.renewed_at <= gone_since:
        return Condition.EMPTY if now >= lease.free_at else Condition.LOST
    if lease.silent:
        return Condition.LOST
    if unclaimed(slot, lease, world, now):
        return Condition.UNCLAIMED
    instance = world.instance(lease.node, slot.key, lease.epoch)
    if instance is not None and now >= broken_at(instance, lease.node, world):
        return Condition.BROKEN
    return misplaced(slot, lease, workload, generation, digest, world)


def broken_at(instance: InstanceReport, node: str, world: World) -> float:
    """From when on an instance that has served is not worth waiting for; infinite where it is well."""
    if instance.state is InstanceState.QUARANTINED:
        return float("-inf")
    if instance.state is not InstanceState.FAILED:
        return float("inf")
    since = world.failed_since.get(node, {}).get((instance.key, instance.epoch), float("-inf"))
    return since if instance.restarts >= RESTARTS_ALLOWED else since + world.settings.restart_grace_s


def misplaced(
    slot: Slot, lease: LeaseView, workload: Workload, generation: int, digest: str, world: World
) -> Condition:
    """Of a holder that serves: whether it serves the right thing in the right place."""
    status = world.statuses.get(lease.node or "")
    if status is not None and node_refusal(workload, status.node, status.labels):
        return Condition.FORBIDDEN
    if slot.variant and workload.constraints.variants and slot.variant not in workload.constraints.variants:
        return Condition.FORBIDDEN
    same = slot.digest == digest if slot.digest else lease.generation == generation
    # A lease of a newer generation than this steward has heard of is not old: the steward is.
    if not same and lease.generation <= generation:
        return Condition.OBSOLETE
    return Condition.DRAINING if status is not None and status.draining else Condition.HEALTHY


def unclaimed(slot: Slot, lease: LeaseView, world: World, now: float) -> bool:
    """True where the holder is there and reports its instances, but this one not, and does not renew it either."""
    report = world.reports.get(lease.node or "")
    if report is None or not world.online(lease.node or "") or report.incarnation < lease.incarnation:
        return False
    if any(i.key == slot.key and i.epoch >= lease.epoch for i in report.instances):
        return False
    return now >= unclaimed_at(lease, world)


def unclaimed_at(lease: LeaseView, world: World) -> float:
    """From when on a lease that is not reported counts as unclaimed; infinite where its holder renews it."""
    report = world.reports.get(lease.node or "")
    if report is None:
        return float("inf")
    grace = world.settings.claim_grace_s
    if report.incarnation > lease.incarnation:
        return max(lease.since, world.reported_at[report.node]) + grace
    if lease.renewed:
        return float("inf")
    return lease.since + max(grace, 0.4 * lease.hold_s)

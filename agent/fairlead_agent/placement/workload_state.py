"""What the parts of one workload's placement share."""

from __future__ import annotations

from fairlead_agent.messages import BidOutcome, LeaseKey, Workload
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement.config_digest import config_digest
from fairlead_agent.placement.exclusions import Exclusions
from fairlead_agent.placement.guarantee import refusal
from fairlead_agent.placement.slot import Slot
from fairlead_agent.placement.world import World


class WorkloadState:
    """What is asked for, the slots, the last decision, and when something is due next."""

    def __init__(self, desired: DesiredWorkload, world: World, now: float) -> None:
        self.take(desired)
        self.world = world
        self.settings = world.settings
        self.slots: dict[int, Slot] = {}
        self.excluded = Exclusions(world.settings.exclusion_s)
        self.outcomes: tuple[BidOutcome, ...] = ()
        """Of the last round, with what became of its winners."""
        self.negotiation = ""
        self.trigger = "first seen"
        self.decided_at = now
        self.wants_states = True
        """The authority is to be asked soon how the leases stand."""
        self.wakeup: float | None = None

    def take(self, desired: DesiredWorkload) -> None:
        """A generation."""
        self.desired = desired
        #: What is asked for; of a deleted workload, nothing.
        self.workload = desired.workload or Workload(name=desired.name, plugin="none", replicas=0)
        self.digest = digest_of(desired)
        self.refusal = refusal(self.workload.placement)

    def slot(self, key: LeaseKey) -> Slot:
        """The slot of a key, made where there is none."""
        return self.slots.setdefault(key.replica, Slot(key))

    def sorted_slots(self) -> list[Slot]:
        """All slots, by replica."""
        return [self.slots[replica] for replica in sorted(self.slots)]

    def ensure_slots(self) -> list[Slot]:
        """All slots, by replica, with one for every replica that is asked for."""
        for replica in range(self.workload.replicas):
            self.slot(LeaseKey(site=self.world.site, workload=self.desired.name, replica=replica))
        return self.sorted_slots()

    def at(self, time: float) -> None:
        """Something is due at ``time``."""
        self.wakeup = time if self.wakeup is None else min(self.wakeup, time)

    def at_if_after(self, time: float, now: float) -> None:
        """Something is due at ``time``, if that is still to come at all."""
        if now < time < float("inf"):
            self.at(time)

    def back_off(self, slot: Slot, reason: str, now: float) -> None:
        """A slot stays empty for a while, each time longer."""
        wait = self.settings.retry_min_s * 2 ** min(20, slot.retries)
        slot.retries += 1
        slot.not_before = now + min(self.settings.retry_max_s, wait)
        slot.reason = reason[:2000]
        self.at(slot.not_before)


def digest_of(desired: DesiredWorkload) -> str:
    """Of the config that is asked for; empty for a deleted workload."""
    return config_digest(desired.workload) if desired.workload is not None else ""

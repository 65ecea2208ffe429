"""The I/O around a steward: feeds it messages and time, and carries out what it decides."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.daemon.clocks import boottime, unix_time
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.site_view import SiteView
from fairlead_agent.daemon.ticker import Ticker
from fairlead_agent.messages import (
    Accept,
    Bid,
    Body,
    Call,
    Envelope,
    Grant,
    GrantDenied,
    LeaseStates,
    PlacementRecord,
    Refuse,
)
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement.effects import Announce, Effect, Record, Send
from fairlead_agent.placement.steward import Steward

log = structlog.get_logger()

HEARD: tuple[type[Body], ...] = (Bid, Accept, Refuse, Grant, GrantDenied, LeaseStates)


class StewardShell:
    """Runs a :class:`Steward` on a bus."""

    def __init__(
        self,
        bus: Bus,
        outgoing: Outgoing,
        steward: Steward,
        view: SiteView,
        on_record: Callable[[PlacementRecord], None] | None = None,
    ) -> None:
        self._bus, self._outgoing, self._steward, self._view = bus, outgoing, steward, view
        self._on_record = on_record
        self._ticker = Ticker(self._tick)

    def start(self) -> None:
        """Listen and keep time."""
        for body_type in HEARD:
            self._bus.on(body_type, self._heard)
        self._view.on_status(lambda status: self._run(self._steward.node_status(status, boottime())))
        self._view.on_instances(lambda report: self._run(self._steward.instances(report, boottime())))
        self._view.on_facts(lambda node, notable: self._run(self._steward.facts_changed(node, boottime(), notable)))
        self._ticker.start()

    async def stop(self) -> None:
        """Keep no time any more."""
        await self._ticker.stop()

    async def say_again(self) -> None:
        """Retain the records once more, after a reconnect: the broker may have lost what it had."""
        for record in self._steward.records():
            known = self._view.records.get((record.workload, record.steward), record)
            self._outgoing.post_to(self._bus.topics.placement(record.steward, record.workload), known, retain=True)

    def desired(self, desired: DesiredWorkload) -> None:
        """Verified desired state."""
        self._run(self._steward.desired(desired, boottime()))

    async def _heard(self, envelope: Envelope) -> None:
        self._run(self._steward.message(envelope.source, envelope.data, boottime()))

    def _tick(self) -> float | None:
        self._run(self._steward.tick(boottime()), wake=False)
        return self._steward.next_wakeup()

    def _run(self, effects: list[Effect], *, wake: bool = True) -> None:
        for effect in effects:
            self._carry_out(effect)
        if wake:
            self._ticker.wake()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(to=to, body=body):
                self._outgoing.post(to, body)
            case Announce(body=Call() as call):
                self._outgoing.post_to(self._bus.topics.call(call.steward), call, expires_in_s=call.deadline_s + 1)
            case Record(record=record, decided_ago_s=ago_s):
                record = record.model_copy(update={"decided_at": unix_time() - ago_s})
                self._outgoing.post_to(self._bus.topics.placement(record.steward, record.workload), record, retain=True)
                if self._on_record is not None:
                    self._on_record(record)
            case _:
                log.error("steward.unknown_effect", effect=type(effect).__name__)

"""The control plane: composes store, authority, steward, view and gateway around one bus."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import structlog

import fairlead_cloud
from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.streams import StreamClient, StreamError
from fairlead_agent.bus.topics import AUTHORITY, Topics
from fairlead_agent.daemon.clocks import new_id, unix_time
from fairlead_agent.daemon.identity import next_identity
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.presence import Presence
from fairlead_agent.daemon.site_view import SiteView
from fairlead_agent.daemon.steward_shell import StewardShell
from fairlead_agent.messages import (
    InstanceState,
    LeaseKey,
    NodeInstances,
    NodeStatus,
    PlacementRecord,
    Workload,
)
from fairlead_agent.messages.workload import SignedWorkload
from fairlead_agent.placement.authority import AuthorityRules, LeaseRow
from fairlead_agent.placement.explain import explain
from fairlead_agent.placement.guarantee import PolicyError, check_policy
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_agent.placement.steward import Steward
from fairlead_cloud.api.views import ExplainView, HealthView, LeaseView, NodeView, WorkloadView
from fairlead_cloud.authority import AuthorityService
from fairlead_cloud.broker_login import broker_address
from fairlead_cloud.gateway.forward import Forwarder
from fairlead_cloud.gateway.sender import Sender
from fairlead_cloud.keys import SiteKey
from fairlead_cloud.pulse import Pulse
from fairlead_cloud.settings import PlaneSettings
from fairlead_cloud.store import Database, EventLog, LeaseStore, StoredWorkload, TokenStore, WorkloadStore

log = structlog.get_logger()

#: The control plane is steward while it is reachable.
STEWARD_RANK = 2


class WorkloadRefused(ValueError):
    """A workload that is not applied; the text names the field, the value and what is accepted."""


class ControlPlane:
    """One site's control plane."""

    def __init__(self, settings: PlaneSettings, validate: Callable[[Workload], Workload] | None = None) -> None:
        self.settings = settings
        self._validate = validate
        self.key = SiteKey.load_or_create(settings.state_dir / "site-key.pem")
        self.database = Database(settings.database())
        self.tokens = TokenStore(self.database)
        self.events = EventLog(self.database)
        self.workloads = WorkloadStore(self.database, settings.site, self.key.sign)
        self._known: dict[str, Workload] = {}
        self._pulse = Pulse()
        self._to_log: asyncio.Queue[tuple[str, str, dict[str, Any]]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._build()

    def _build(self) -> None:
        settings = self.settings
        self.identity = next_identity(settings.state_dir, settings.node)
        placement = PlacementSettings(ttl_s=settings.lease_ttl_s)
        self.topics = Topics(settings.site)
        self.transport = MqttTransport(broker_address(settings, settings.login), client_id=settings.node)
        self.bus = self._bus(self.transport, settings.node)
        self.outgoing = Outgoing(self.bus)
        self.view = SiteView(self.bus, self.topics, self.outgoing)
        steward = Steward(settings.site, settings.node, STEWARD_RANK, placement, new_id)
        self.steward = StewardShell(self.bus, self.outgoing, steward, self.view, self._recorded)
        status = NodeStatus(
            node=settings.node,
            incarnation=self.identity.incarnation,
            online=True,
            steward_rank=STEWARD_RANK,
            profile="control-plane",
            version=fairlead_cloud.__version__,
        )
        self.presence = Presence(self.transport, self.bus, self.topics, status)
        self.streams = StreamClient(self.bus, new_id)
        self.sender = Sender(self.streams)
        self.forwarder = Forwarder(self, self.sender.open, settings.gateway_wait_s)
        self._build_authority(AuthorityRules(placement))

    def _build_authority(self, rules: AuthorityRules) -> None:
        address = broker_address(self.settings, self.settings.authority_login)
        self.authority_transport = MqttTransport(address, client_id=AUTHORITY)
        bus = self._bus(self.authority_transport, AUTHORITY)
        self.authority = AuthorityService(bus, LeaseStore(self.database, self.settings.site), rules)
        self.authority.on_change(self._lease_changed)

    def _bus(self, transport: MqttTransport, node: str) -> Bus:
        return Bus(transport, self.settings.site, node, self.identity.incarnation, clock=unix_time, new_id=new_id)

    async def start(self) -> None:
        """Open the database, join the site and publish what is wanted."""
        await self.database.open()
        self._listen()
        await self.authority.start()
        self._tasks.append(asyncio.create_task(self._write_events(), name="events"))
        self.outgoing.start()
        self.view.start()
        self.steward.start()
        await self.presence.prepare()
        self.transport.on_connected(self._publish_desired)
        if self.settings.run_authority:
            await self.authority_transport.start()
        await self.transport.start()
        for stored in await self.workloads.all(deleted=True):
            self._want(stored)

    async def stop(self) -> None:
        """Leave the site."""
        self.presence.leaving = True
        await self.steward.stop()
        await self.outgoing.stop()
        for transport in (self.transport, self.authority_transport):
            with contextlib.suppress(Exception):
                await transport.close()
        await self.sender.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.database.close()

    # --- desired state ---------------------------------------------------------------------------------------

    async def apply(self, workload: Workload) -> StoredWorkload:
        """Make ``workload`` wanted; durable and on its way to the nodes when this returns.

        Raises:
            WorkloadRefused: its config or its guarantees do not fit.
        """
        try:
            check_policy(workload.placement)
            workload = self._validate(workload) if self._validate is not None else workload
        except (PolicyError, ValueError) as error:
            raise WorkloadRefused(f"workload {workload.name!r}: {error}") from None
        stored = await self.workloads.apply(workload, unix_time())
        if stored.changed:
            await self._announce(stored, "workload.applied")
        return stored

    async def delete(self, name: str) -> StoredWorkload | None:
        """Want ``name`` no more; None where it is not wanted anyway."""
        stored = await self.workloads.delete(name, unix_time())
        if stored is not None:
            await self._announce(stored, "workload.deleted")
        return stored

    async def _announce(self, stored: StoredWorkload, event: str) -> None:
        self._want(stored)
        await self._publish(stored.desired.name, stored.signed)
        self._log(event, stored.desired.name, {"generation": stored.desired.generation})

    def _want(self, stored: StoredWorkload) -> None:
        desired = stored.desired
        if desired.workload is None:
            self._known.pop(desired.name, None)
        else:
            self._known[desired.name] = desired.workload
        self.steward.desired(desired)

    async def _publish(self, name: str, signed: SignedWorkload) -> None:
        await self.bus.publish(self.topics.desired(name), signed, retain=True)

    async def _publish_desired(self) -> None:
        for stored in await self.workloads.all(deleted=True):
            await self._publish(stored.desired.name, stored.signed)

    # --- what the gateway asks ---------------------------------------------------------------------------------

    def node_instances(self) -> list[NodeInstances]:
        """What every online node runs."""
        online = {status.node: status.incarnation for status in self.view.online()}
        return [found for found in self.view.instances.values() if online.get(found.node) == found.incarnation]

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        return self.authority.holds(key, epoch, node)

    async def changed(self, timeout_s: float) -> bool:
        """Wait until instances or leases change."""
        return await self._pulse.wait(timeout_s)

    def knows_workload(self, name: str) -> bool:
        """Whether a workload of that name is wanted."""
        return name in self._known

    def openai_workloads(self) -> list[str]:
        """The workloads whose plugin answers OpenAI's API, by the nodes' own word."""
        plugins = {plugin for status in self.view.statuses.values() for plugin in status.openai_plugins}
        return sorted(name for name, workload in self._known.items() if workload.plugin in plugins)

    # --- what the API shows ------------------------------------------------------------------------------------

    def health(self) -> HealthView:
        """Whether it works."""
        return HealthView(
            status="ok" if self.transport.connected else "bus-disconnected",
            site=self.settings.site,
            bus_connected=self.transport.connected,
            nodes_online=len(self.view.online()),
            version=fairlead_cloud.__version__,
        )

    def workload_view(self, stored: StoredWorkload) -> WorkloadView:
        """A workload and how it stands."""
        assert stored.desired.workload is not None
        name = stored.desired.name
        record = self.view.record(name)
        instances = [
            report for node in self.node_instances() for report in node.instances if report.key.workload == name
        ]
        return WorkloadView(
            name=name,
            generation=stored.desired.generation,
            updated_at=stored.updated_at,
            workload=stored.desired.workload,
            steward=record.steward if record is not None else None,
            slots=record.slots if record is not None else (),
            instances=tuple(instances),
            ready=len({r.key for r in instances if r.state is InstanceState.READY}),
        )

    def node_views(self) -> list[NodeView]:
        """All nodes."""
        return [
            NodeView(
                status=status,
                instances=self.view.instances[node].instances if node in self.view.instances else (),
                facts=self.view.graph.facts(node),
            )
            for node, status in sorted(self.view.statuses.items())
        ]

    def graph_mapping(self) -> dict[str, Any]:
        """The resource graph."""
        return self.view.graph.to_mapping()

    def placement_records(self) -> list[PlacementRecord]:
        """The latest decision on every wanted workload."""
        found = [self.view.record(name) for name in sorted(self._known)]
        return [record for record in found if record is not None]

    def lease_views(self) -> list[LeaseView]:
        """The authority's rows."""
        rows = sorted(self.authority.rows.values(), key=lambda row: (row.key.workload, row.key.replica))
        return [
            LeaseView(
                workload=row.key.workload,
                replica=row.key.replica,
                epoch=row.epoch,
                node=None if row.released else row.node,
                remaining_s=self.authority.remaining_s(row),
            )
            for row in rows
        ]

    def explain(self, name: str) -> ExplainView:
        """Why a workload stands where it stands."""
        record = self.view.record(name)
        lines = explain(record) if record is not None else (f"{name}: no steward has decided on it yet",)
        return ExplainView(workload=name, record=record, lines=tuple(lines))

    async def logs(self, name: str, lines: int) -> list[dict[str, Any]]:
        """The last lines of every instance's log, by way of its node."""
        found = [
            (node.node, report.key)
            for node in self.node_instances()
            for report in node.instances
            if report.key.workload == name
        ]
        return list(await asyncio.gather(*(self._log_of(node, key, lines) for node, key in found)))

    async def _log_of(self, node: str, key: LeaseKey, lines: int) -> dict[str, Any]:
        answer = {"node": node, "replica": key.replica, "text": "", "error": ""}
        path = f"/instances/{key.workload}/{key.replica}/log?lines={lines}"
        try:
            response = await self.streams.request(
                node, target="node", epoch=0, method="GET", path=path, headers=(), body=b"", timeout_s=5.0
            )
            answer["text"] = b"".join([chunk async for chunk in response]).decode(errors="replace")
        except (StreamError, TimeoutError) as error:
            answer["error"] = f"{node} did not answer: {error}"
        return answer

    # --- events ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self.view.on_status(self._status_changed)
        self.view.on_instances(self._instances_changed)
        self.view.on_record(self._record_seen)
        self._states: dict[tuple[str, LeaseKey], tuple[InstanceState, int]] = {}

    def _status_changed(self, status: NodeStatus) -> None:
        kind = "node.online" if status.online else "node.offline"
        self._log(kind, status.node, {"incarnation": status.incarnation, "profile": status.profile})

    def _instances_changed(self, report: NodeInstances) -> None:
        for instance in report.instances:
            seen = (instance.state, instance.epoch)
            if self._states.get((report.node, instance.key)) != seen:
                self._states[(report.node, instance.key)] = seen
                data = {"node": report.node, "epoch": instance.epoch, "reason": instance.reason}
                self._log(f"instance.{instance.state.value}", str(instance.key), data)
        self._pulse.fire()

    def _lease_changed(self, row: LeaseRow) -> None:
        kind = "lease.released" if row.released else "lease.granted"
        self._log(kind, str(row.key), {"node": row.node, "epoch": row.epoch})
        self._pulse.fire()

    def _recorded(self, record: PlacementRecord) -> None:
        slots = {str(slot.key.replica): f"{slot.state}:{slot.node or '-'}" for slot in record.slots}
        self._log("placement.recorded", record.workload, {"trigger": record.trigger, "slots": slots})

    def _record_seen(self, record: PlacementRecord) -> None:
        if record.steward != self.settings.node:
            self._recorded(record)

    def _log(self, kind: str, subject: str, data: dict[str, Any]) -> None:
        self._to_log.put_nowait((kind, subject, data))

    async def _write_events(self) -> None:
        while True:
            kind, subject, data = await self._to_log.get()
            try:
                await self.events.append(kind, subject, data, time.time())
            except Exception as error:
                # A full disk must not stop placement; the event is lost, and said to be.
                log.error("events.not_written", kind=kind, subject=subject, reason=str(error))

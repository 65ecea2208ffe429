"""The control plane: composes store, authority, steward, view and gateway around one bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog

import fairlead_cloud
from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.streams import StreamClient
from fairlead_agent.bus.topics import AUTHORITY, Topics
from fairlead_agent.bus.transport import TransportError
from fairlead_agent.daemon.clocks import new_id, unix_time
from fairlead_agent.daemon.identity import next_identity
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.presence import Presence
from fairlead_agent.daemon.sensor import message
from fairlead_agent.daemon.site_view import SiteView
from fairlead_agent.daemon.steward_shell import StewardShell
from fairlead_agent.graph import Vertex, VertexKind
from fairlead_agent.graph.writer import ShardWriter
from fairlead_agent.messages import InstanceReport, LeaseKey, NodeStatus, SignedWorkload, Workload
from fairlead_agent.placement.authority import AuthorityRules
from fairlead_agent.placement.guarantee import GuaranteeError, check
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_agent.placement.steward import Steward
from fairlead_cloud.api.views import HealthView, LogView
from fairlead_cloud.authority import AuthorityService
from fairlead_cloud.broker_login import broker_address
from fairlead_cloud.chronicle import Chronicle
from fairlead_cloud.gateway.forward import Forwarder
from fairlead_cloud.gateway.meter import Meter
from fairlead_cloud.gateway.sender import Sender
from fairlead_cloud.instance_logs import read_logs
from fairlead_cloud.keys import SiteKey
from fairlead_cloud.leases import LeaseBook, RemoteLeases
from fairlead_cloud.pulse import Pulse
from fairlead_cloud.settings import PlaneSettings
from fairlead_cloud.site_report import SiteReport
from fairlead_cloud.store import Database, EventLog, LeaseStore, StoredWorkload, TokenStore, WorkloadStore

log = structlog.get_logger()

#: The control plane is steward while it is reachable.
STEWARD_RANK = 2


class WorkloadRefused(ValueError):
    """A workload that is not applied; the text names the field, the value and what is accepted."""


class ControlPlane:
    """One site's control plane.

    Args:
        settings: what it is started with.
        validate: checks a workload's plugin and config and returns it with defaults filled in; ValueError refuses it.
    """

    def __init__(self, settings: PlaneSettings, validate: Callable[[Workload], Workload] | None = None) -> None:
        self.settings = settings
        self._validate = validate
        self.key = SiteKey.load_or_create(settings.state_dir / "site-key.pem")
        self.database = Database(settings.database())
        self.tokens = TokenStore(self.database)
        self.events = EventLog(self.database)
        self.workloads = WorkloadStore(self.database, settings.site, self.key.sign)
        self.meter = Meter()
        self._known: dict[str, Workload] = {}
        self._applying = asyncio.Lock()
        self._pulse = Pulse()
        self._join_bus()
        self._lead()
        self._serve_clients()
        self._measure()

    # --- composition -----------------------------------------------------------------------------------------------

    def _join_bus(self) -> None:
        settings = self.settings
        self.identity = next_identity(settings.state_dir, settings.node)
        self.topics = Topics(settings.site)
        self.transport = MqttTransport(broker_address(settings, settings.login), client_id=settings.node)
        self.bus = self._bus(self.transport, settings.node)
        self.outgoing = Outgoing(self.bus)
        self.view = SiteView(self.bus, self.topics, self.outgoing)
        status = NodeStatus(
            node=settings.node,
            incarnation=self.identity.incarnation,
            online=True,
            steward_rank=STEWARD_RANK,
            profile="control-plane",
            version=fairlead_cloud.__version__,
        )
        self.presence = Presence(self.transport, self.bus, self.topics, status)

    def _lead(self) -> None:
        settings = self.settings
        placement = PlacementSettings(ttl_s=settings.lease_ttl_s, dwell_s=settings.dwell_s)
        steward = Steward(settings.site, settings.node, STEWARD_RANK, placement, new_id)
        self.steward = StewardShell(self.bus, self.outgoing, steward, self.view)
        self.authority: AuthorityService | None = None
        self.remote_leases: RemoteLeases | None = None
        if settings.run_authority:
            address = broker_address(settings, settings.authority_login)
            self.authority_transport = MqttTransport(address, client_id=AUTHORITY)
            store = LeaseStore(self.database, settings.site)
            rules = AuthorityRules(placement)
            self.authority = AuthorityService(self._bus(self.authority_transport, AUTHORITY), store, rules)
            self.leases: LeaseBook = self.authority
        else:
            self.remote_leases = RemoteLeases(self.bus, settings.lease_ttl_s / 5)
            self.leases = self.remote_leases

    def _serve_clients(self) -> None:
        self.chronicle = Chronicle(self.events, self.view)
        self.leases.on_change(self.chronicle.lease_changed)
        self.report = SiteReport(self.view, self.leases, self._known, self.chronicle)
        self.leases.on_change(lambda _: self._pulse.fire())
        self.view.on_instances(lambda _: self._instances_changed())
        self.view.on_status(lambda _: self._pulse.fire())
        self.streams = StreamClient(self.bus, new_id)
        self.sender = Sender(self.streams)
        self.forwarder = Forwarder(self, self.sender.open, self.settings.gateway_wait_s, self.meter.failed)

    def _measure(self) -> None:
        gauge = self.meter.gauge
        gauge("fairlead_gateway_in_flight", "Requests at instances now.", lambda: self.forwarder.in_flight)
        gauge("fairlead_nodes_online", "Nodes that are there now.", lambda: len(self.view.online()))
        gauge("fairlead_workloads", "Workloads that are wanted.", lambda: len(self._known))
        gauge("fairlead_replicas_placed", "Replicas that a steward has placed.", self._placed)
        gauge("fairlead_leases_live", "Leases that are held now.", self._live_leases)
        gauge("fairlead_bus_connected", "1 while the broker is reached.", lambda: self.transport.connected)
        gauge("fairlead_events_lost", "Events that could not be written.", lambda: self.chronicle.lost)

    def _placed(self) -> int:
        return sum(slot.state == "placed" for record in self.report.placements() for slot in record.slots)

    def _live_leases(self) -> int:
        return sum(self.leases.remaining_s(row) > 0 for row in self.leases.rows.values())

    def _bus(self, transport: MqttTransport, node: str) -> Bus:
        return Bus(transport, self.settings.site, node, self.identity.incarnation, clock=unix_time, new_id=new_id)

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the database, join the site and publish what is wanted.

        Raises:
            DatabaseError: the database cannot be used.
        """
        await self.database.open()
        self.chronicle.start()
        self.outgoing.start()
        self.view.start()
        self.steward.start()
        await self.presence.prepare()
        self.transport.on_connected(self._announce_all)
        if self.authority is not None:
            await self.authority.start()
            await self.authority_transport.start()
        if self.remote_leases is not None:
            self.remote_leases.start()
        await self.transport.start()
        for stored in await self.workloads.all(deleted=True):
            self._want(stored)

    async def stop(self) -> None:
        """Leave the site."""
        self.presence.leaving = True
        await self.forwarder.close()
        await self.steward.stop()
        if self.remote_leases is not None:
            await self.remote_leases.stop()
        await self.outgoing.stop()
        with contextlib.suppress(TransportError, OSError):
            await self.transport.close()
        if self.authority is not None:
            with contextlib.suppress(TransportError, OSError):
                await self.authority_transport.close()
        self.bus.close()
        await self.sender.close()
        await self.chronicle.stop()
        await self.database.close()

    def _instances_changed(self) -> None:
        if self.remote_leases is not None:
            self.remote_leases.ask_soon()
        self._pulse.fire()

    # --- desired state -----------------------------------------------------------------------------------------------

    async def apply(self, workload: Workload) -> StoredWorkload:
        """Make ``workload`` wanted; durable and on its way to the nodes when this returns.

        Raises:
            WorkloadRefused: its config or its guarantees do not fit.
            DatabaseError: it could not be stored; nothing has changed.
        """
        try:
            check(workload.placement)
            # Plugins' own code runs here, on a thread: it must not hold up the steward.
            workload = workload if self._validate is None else await asyncio.to_thread(self._validate, workload)
        except GuaranteeError as error:
            raise WorkloadRefused(f"workload {workload.name!r}: {error}") from None
        except ValueError as error:
            raise WorkloadRefused(str(error)) from None
        # One at a time, so that generations reach the bus in their order.
        async with self._applying:
            stored = await self.workloads.apply(workload, unix_time())
            if stored.changed:
                await self._announce(stored, "workload.applied")
        return stored

    async def delete(self, name: str) -> StoredWorkload | None:
        """Want ``name`` no more; None where it is not wanted anyway. DatabaseError: nothing has changed."""
        async with self._applying:
            stored = await self.workloads.delete(name, unix_time())
            if stored is not None:
                await self._announce(stored, "workload.deleted")
        return stored

    async def _announce(self, stored: StoredWorkload, event: str) -> None:
        self._want(stored)
        self.chronicle.note(event, stored.desired.name, {"generation": stored.desired.generation})
        try:
            await self._publish(stored.desired.name, stored.signed)
        except TransportError as error:
            # It is stored, and published again at the next connect.
            log.warning("desired.not_published", workload=stored.desired.name, reason=str(error))

    def _want(self, stored: StoredWorkload) -> None:
        desired = stored.desired
        if desired.workload is None:
            self._known.pop(desired.name, None)
        else:
            self._known[desired.name] = desired.workload
        self.report.changed()
        self.steward.desired(desired)

    async def _publish(self, name: str, signed: SignedWorkload) -> None:
        await self.bus.publish(self.topics.desired(name), signed, retain=True)

    async def _announce_all(self) -> None:
        await self.steward.say_again()
        for stored in await self.workloads.all(deleted=True):
            await self._publish(stored.desired.name, stored.signed)
        # Nodes name the control plane as the other end of their links to where clients come in.
        writer = ShardWriter(self.settings.node, self.identity.incarnation)
        writer.put(Vertex(self.settings.node, VertexKind.NODE, {}, {"profile": "control-plane"}))
        writer.flush()
        await self.bus.publish(self.topics.graph(self.settings.node), message(writer.snapshot()), retain=True)

    # --- what the gateway asks --------------------------------------------------------------------------------

    def instances_of(self, workload: str) -> Iterable[tuple[str, InstanceReport]]:
        """The workload's instances by the online nodes' own word, each with its node."""
        return self.report.instances_of(workload)

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        return self.leases.holds(key, epoch, node)

    async def changed(self, timeout_s: float) -> bool:
        """Wait until instances or leases change."""
        return await self._pulse.wait(timeout_s)

    def knows_workload(self, name: str) -> bool:
        """Whether a workload of that name is wanted."""
        return name in self._known

    def openai_workloads(self) -> list[str]:
        """The workloads whose plugin answers OpenAI's API, by the nodes' own word."""
        return self.report.openai_workloads()

    # --- what the API asks ------------------------------------------------------------------------------------

    def health(self) -> HealthView:
        """Whether it works."""
        return HealthView(
            status="ok" if self.transport.connected else "bus-disconnected",
            site=self.settings.site,
            bus_connected=self.transport.connected,
            nodes_online=len(self.view.online()),
            version=fairlead_cloud.__version__,
        )

    async def logs(self, name: str, lines: int) -> list[LogView]:
        """The last lines of every instance's log, by way of its node."""
        where = [(node, report.key) for node, report in self.instances_of(name)]
        return await read_logs(self.streams, where, lines)

"""One node: everything that runs in an agent, put together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

import fairlead_agent
from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.stream_server import StreamServer
from fairlead_agent.bus.transport import Transport
from fairlead_agent.config import AgentProfile, ConfigError, load_profile
from fairlead_agent.daemon.calibration_file import CalibrationFile
from fairlead_agent.daemon.clocks import boottime, new_id, unix_time
from fairlead_agent.daemon.crew import Crew
from fairlead_agent.daemon.desired_book import DesiredBook
from fairlead_agent.daemon.identity import Identity, next_identity
from fairlead_agent.daemon.keeping import Keeping
from fairlead_agent.daemon.learning import Learning
from fairlead_agent.daemon.node_http import NodeHttp
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.participation import Participation
from fairlead_agent.daemon.peers_feed import PeersFeed
from fairlead_agent.daemon.presence import Presence
from fairlead_agent.daemon.readings import DeviceReader
from fairlead_agent.daemon.sensor import Sensor
from fairlead_agent.daemon.settings import AgentSettings
from fairlead_agent.graph import instance_id
from fairlead_agent.messages import LeaseKey, NodeStatus
from fairlead_agent.placement.bidder import Bidder
from fairlead_agent.placement.resources import Resources
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_agent.plugin.registry import Registry
from fairlead_agent.runtime.instance import Instance
from fairlead_agent.runtime.supervisor import Supervisor
from fairlead_bridge.roots import Roots

if TYPE_CHECKING:
    from fairlead_agent.daemon.site_view import SiteView
    from fairlead_agent.daemon.steward_shell import StewardShell

log = structlog.get_logger()

#: How long instances may drain when the agent is told to end.
DRAIN_S = 5.0


class Daemon:
    """An agent. ``transport`` replaces MQTT in simulations."""

    def __init__(self, settings: AgentSettings, transport: Transport | None = None) -> None:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.settings = settings
        self.profile: AgentProfile = load_profile(settings.profile)
        self.identity: Identity = next_identity(settings.state_dir, settings.node)
        self.placement = PlacementSettings(ttl_s=settings.lease_ttl_s, dwell_s=settings.dwell_s)
        self.transport = transport or MqttTransport(settings.broker.address(), client_id=settings.node)
        self.bus = Bus(
            self.transport, settings.site, settings.node, self.identity.incarnation, clock=unix_time, new_id=new_id
        )
        self.outgoing = Outgoing(self.bus)
        self.registry = Registry.discover(settings.plugin_path)
        self.supervisor = Supervisor(settings.state_dir, node=settings.node, clock=boottime)
        self.book = DesiredBook(settings.site, settings.public_keys())
        self._build_bidder()
        self._build_steward()
        self.presence = Presence(self.transport, self.bus, self.bus.topics, self._status())

    def _build_bidder(self) -> None:
        settings, folder = self.settings, self.settings.state_dir
        self.bidder = Bidder(
            settings.node, self.identity.incarnation, self.placement, new_id, labels=self.profile.labels
        )
        self.calibration = CalibrationFile(folder / "calibration.json", self.bidder.calibration)
        reader = DeviceReader(Roots(**settings.roots), folder, unix_time)
        self.sensor = Sensor(self.bus, self.outgoing, self.profile, reader, self._claimed, settings.sense_interval_s)
        direct = self.profile.policy.reachable == "direct"
        self.crew = Crew(
            self.bus,
            self.outgoing,
            self.supervisor,
            self.registry,
            self.sensor,
            _folder(folder / "cache"),
            tcp_host=settings.data_host if direct else None,
            default_ttl_s=settings.lease_ttl_s,
        )
        self.participation = Participation(
            self.bus, self.outgoing, self.bidder, self.crew, self.registry, self.sensor, self.book
        )
        self.learning = Learning(self.supervisor, self.bidder.calibration, self.calibration)
        self.keeping = Keeping(self.supervisor, self.sensor)
        self.peers = PeersFeed(self.bus, self.supervisor)
        self.supervisor.subscribe_facts(self._fact)
        self.streams = StreamServer(self.bus, NodeHttp(settings.site, self.supervisor).answer)

    def _fact(self, key: LeaseKey, vertex: str, attribute: str, value: float, uncertainty: float) -> None:
        source = instance_id(self.settings.node, key.workload, key.replica)
        self.sensor.fact(vertex, attribute, value, uncertainty, source=source)

    def _build_steward(self) -> None:
        self.view: SiteView | None = None
        self.steward: StewardShell | None = None
        if not self.profile.policy.steward:
            return  # a node that never negotiates for others need not know the whole site
        from fairlead_agent.daemon.site_view import SiteView
        from fairlead_agent.daemon.steward_shell import StewardShell
        from fairlead_agent.placement.steward import Steward

        settings = self.settings
        self.view = SiteView(self.bus, self.bus.topics, self.outgoing)
        steward = Steward(settings.site, settings.node, 1, self.placement, new_id)
        self.steward = StewardShell(self.bus, self.outgoing, steward, self.view)
        self.book.on_change(self.steward.desired)

    def _status(self) -> NodeStatus:
        manifests = self.registry.manifests()
        return NodeStatus(
            node=self.settings.node,
            incarnation=self.identity.incarnation,
            online=True,
            steward_rank=1 if self.profile.policy.steward else 0,
            profile=self.profile.name,
            labels=self.profile.labels,
            version=fairlead_agent.__version__,
            plugins={name: manifest.version for name, manifest in manifests.items()},
            openai_plugins=tuple(name for name, manifest in manifests.items() if manifest.openai),
        )

    def _claimed(self) -> Resources:
        return self.bidder.ledger.claimed(boottime())

    async def start(self) -> None:
        """Adopt what an earlier agent left running, then join the site."""
        self.calibration.load()
        self.outgoing.start()
        await self._adopt()
        await self.sensor.measure(self.settings.state_dir, self.settings.state_dir)
        await self._probe()
        self.crew.start()
        self.sensor.start()
        self.learning.start()
        self.keeping.start()
        self.participation.start()
        self.book.watch(self.bus)
        if self.view is not None and self.steward is not None:
            self.view.start()
            self.steward.start()
        await self.presence.prepare()
        self.transport.on_connected(self._connected)
        await self.transport.start()
        log.info(
            "agent.started",
            node=self.settings.node,
            incarnation=self.identity.incarnation,
            profile=self.profile.name,
            limiter=self.supervisor.limiter.kind,
            plugins=sorted(self.registry.manifests()),
        )

    def reload(self) -> None:
        """Read the profile's file again: budget, power, policy and pretended hardware change while instances run.

        A file that cannot be read or does not fit changes nothing, and the log says why.
        """
        try:
            self.profile, left = self.profile.renewed(load_profile(self.settings.profile))
        except ConfigError as error:
            log.error("profile.not_reloaded", profile=self.settings.profile, reason=str(error))
            return
        self.sensor.renew(self.profile)
        budget = self.profile.budget.model_dump(exclude_none=True)
        log.info("profile.reloaded", profile=self.profile.name, budget=budget, needs_restart=list(left))

    async def stop(self, *, drain: bool = True) -> None:
        """Leave the site; instances drain and their leases are given back first."""
        if drain:
            await self.presence.update(draining=True)
            self.participation.drain("the agent was told to end")
            await self._drained(DRAIN_S)
        self.presence.leaving = True
        for part in (self.learning, self.keeping, self.sensor, self.participation, self.crew, self.outgoing):
            await part.stop()
        if self.steward is not None:
            await self.steward.stop()
        await self.supervisor.shutdown()
        with contextlib.suppress(Exception):
            await self.transport.close()
        self.calibration.save()

    async def _drained(self, timeout_s: float) -> None:
        deadline = boottime() + timeout_s
        while (self.bidder.leases.held() or self.supervisor.keys()) and boottime() < deadline:
            await asyncio.sleep(0.02)

    async def _adopt(self) -> None:
        for instance in await self.supervisor.adopt():
            if not self._take_over(instance):
                await self.supervisor.stop(instance.key, "holds no live lease", instance.spec.negotiation)

    def _take_over(self, instance: Instance) -> bool:
        spec = instance.spec
        if instance.epoch == 0 or instance.expires_boottime_s <= boottime() or spec.estimate is None:
            return False
        needs = Resources.of(spec.estimate)
        self.bidder.adopt(
            instance.key, spec.negotiation, instance.epoch, spec.ttl_s, instance.expires_boottime_s, needs
        )
        self.crew.adopt(instance)
        log.info("agent.adopted", key=str(instance.key), epoch=instance.epoch)
        return True

    async def _probe(self) -> None:
        await self.registry.probe(self.sensor.facts(None))

    async def _connected(self) -> None:
        self.sensor.publish_all()
        self.crew.republish()
        if self.steward is not None:
            await self.steward.say_again()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


async def run(settings: AgentSettings) -> None:
    """Run an agent until SIGINT or SIGTERM; SIGHUP has it read its profile again."""
    daemon = Daemon(settings)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    # In a terminal SIGHUP says that the terminal has gone.
    hang_up = stopped.set if os.isatty(0) else daemon.reload
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    await daemon.start()
    try:
        await stopped.wait()
    finally:
        await daemon.stop()

"""A site's authority without a control plane around it."""

from __future__ import annotations

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.daemon.clocks import new_id, unix_time
from fairlead_agent.daemon.identity import next_identity
from fairlead_agent.placement.authority import AuthorityRules
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_cloud.authority.service import AuthorityService
from fairlead_cloud.broker_login import broker_address
from fairlead_cloud.settings import PlaneSettings
from fairlead_cloud.store import Database, LeaseStore


class StandaloneAuthority:
    """Issues epochs so that nodes can be stewards while no control plane is reachable."""

    def __init__(self, settings: PlaneSettings) -> None:
        self._database = Database(settings.database())
        self._transport = MqttTransport(broker_address(settings, settings.authority_login), client_id=AUTHORITY)
        incarnation = next_identity(settings.state_dir, AUTHORITY).incarnation
        self._bus = Bus(self._transport, settings.site, AUTHORITY, incarnation, clock=unix_time, new_id=new_id)
        rules = AuthorityRules(PlacementSettings(ttl_s=settings.lease_ttl_s))
        self.service = AuthorityService(self._bus, LeaseStore(self._database, settings.site), rules)

    async def start(self) -> None:
        """Load the rows, then answer.

        Raises:
            DatabaseError: the rows cannot be read.
        """
        await self._database.open()
        await self.service.start()
        await self._transport.start()

    async def stop(self) -> None:
        """Answer no more."""
        self._bus.close()
        await self._transport.close()
        await self._database.close()

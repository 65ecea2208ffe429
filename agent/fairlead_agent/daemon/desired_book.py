"""Desired state that the site's key has signed. A node acts on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.transport import Received
from fairlead_agent.messages import Envelope, SignedWorkload, Workload
from fairlead_agent.messages.signing import DesiredWorkload, SignatureError, verify

log = structlog.get_logger()


class DesiredBook:
    """Keeps the newest verified generation of every workload."""

    def __init__(self, site: str, keys: Mapping[str, bytes]) -> None:
        self._site, self._keys = site, dict(keys)
        self._desired: dict[str, DesiredWorkload] = {}
        self._listeners: list[Callable[[DesiredWorkload], None]] = []
        self.refused = 0

    def watch(self, bus: Bus) -> None:
        """Follow the site's desired state."""
        bus.watch(bus.topics.all_desired(), SignedWorkload, self._heard)

    def on_change(self, listener: Callable[[DesiredWorkload], None]) -> None:
        """Hear of new generations."""
        self._listeners.append(listener)

    def take(self, name: str, signed: SignedWorkload) -> bool:
        """Verify and keep; False, with one line in the log, where it is refused."""
        try:
            desired = verify(signed, self._keys, site=self._site)
            if desired.name != name:
                raise SignatureError(f"the topic says {name!r}, the signed workload is {desired.name!r}")
        except SignatureError as error:
            self.refused += 1
            log.warning("desired.refused", workload=name, reason=str(error))
            return False
        known = self._desired.get(name)
        if known is not None and desired.generation <= known.generation:
            # An old signature stays valid for ever, so only newer generations count: no roll-back by replay.
            return desired == known
        self._desired[name] = desired
        for listener in self._listeners:
            listener(desired)
        return True

    def objection(self, workload: Workload, generation: int) -> str:
        """Why this node will not serve ``workload`` at ``generation``; empty where the site's key has signed it."""
        known = self._desired.get(workload.name)
        if known is None:
            return f"this node knows of no workload {workload.name!r} that the site's key has signed"
        if known.generation != generation:
            return f"the newest signed generation of {workload.name!r} is {known.generation}, not {generation}"
        if known.workload != workload:
            return f"generation {generation} of {workload.name!r} as signed is another than the one that was sent"
        return ""

    def knows(self, name: str, generation: int) -> bool:
        """Whether that generation, or a newer one, has arrived."""
        known = self._desired.get(name)
        return known is not None and known.generation >= generation

    def get(self, name: str) -> DesiredWorkload | None:
        """The newest verified generation."""
        return self._desired.get(name)

    async def _heard(self, envelope: Envelope, received: Received) -> None:
        if isinstance(envelope.data, SignedWorkload):
            self.take(received.topic.rsplit("/", 1)[-1], envelope.data)

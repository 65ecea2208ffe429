"""Who wants which messages, on this side of the broker."""

from __future__ import annotations

import structlog

from fairlead_agent.bus.patterns import check_pattern, is_wild, matches
from fairlead_agent.bus.transport import Handler, Received

log = structlog.get_logger(__name__)


class Subscriptions:
    """The handlers of one transport by pattern."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self.failures = 0

    @property
    def patterns(self) -> list[str]:
        """All patterns that have a handler."""
        return list(self._handlers)

    def add(self, pattern: str, handler: Handler) -> None:
        """Register ``handler``; TopicError for a bad pattern."""
        self._handlers.setdefault(check_pattern(pattern), []).append(handler)

    def remove(self, pattern: str, handler: Handler) -> bool:
        """Forget ``handler``. True when nobody wants ``pattern`` any more."""
        handlers = self._handlers.get(pattern, [])
        if handler in handlers:
            handlers.remove(handler)
            if not handlers:
                del self._handlers[pattern]
                return True
        return False

    def find(self, topic: str) -> list[Handler]:
        """The handlers for a message on ``topic``."""
        found = list(self._handlers.get(topic, ()))
        for pattern, handlers in self._handlers.items():
            if is_wild(pattern) and matches(pattern, topic):
                found.extend(handlers)
        return found

    async def dispatch(self, received: Received) -> None:
        """Call every handler in turn; one that raises is logged and costs only itself."""
        for handler in self.find(received.topic):
            try:
                await handler(received)
            except Exception:
                self.failures += 1
                log.exception("message handler failed", topic=received.topic, payload_bytes=len(received.payload))

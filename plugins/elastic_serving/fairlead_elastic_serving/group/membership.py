"""An engine's place among its like: its door, its links, and its part in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..engine.engine import Engine
from ..engine.loop import Loop, ignore
from ..links.door import LinkSettings
from ..links.link import Inbox
from ..links.meeting import Meeting
from .node import GroupNode
from .post import Post
from .settings import GroupSettings


class Membership:
    """Joins an engine to whatever peers it is told of.

    Attributes:
        node: the engine's part in groups; belongs to the generation thread, what it counts may be read by any.

    Args:
        engine: that serves.
        me: name of the instance: replicas in their order, and no two instances that ever lived alike.
        links: how links are made.
        groups: how groups form.
        warn: hears of messages that could not be handled, with the exception as `exc_info`.
    """

    def __init__(
        self,
        engine: Engine,
        me: str,
        links: LinkSettings,
        groups: GroupSettings,
        warn: Callable[..., object] = ignore,
    ) -> None:
        self.me = me
        self._engine, self._groups, self._warn = engine, groups, warn
        self._inbox = Inbox()
        self._meeting = Meeting(me, self._inbox, links)
        self.node: GroupNode
        engine.accompany(self._join)

    @property
    def door(self) -> str:
        """host:port where peers dial this instance."""
        return self._meeting.door.address

    @property
    def reached(self) -> tuple[str, ...]:
        """Peers to which a link stands."""
        return tuple(self._meeting.links)

    def know(self, doors: Mapping[str, str]) -> None:
        """Say who the peers are: name and door. Whoever is not named any more has left."""
        self._meeting.know(doors)

    def close(self) -> None:
        """Close all links; the engine has ended before, or goes on alone."""
        self._meeting.close()

    def _join(self, loop: Loop, wake: Callable[[], None]) -> GroupNode:
        self._inbox.listener = wake
        post = Post(self.me, self._inbox, lambda: self._meeting.links)
        self.node = GroupNode(self.me, self._engine.model, loop, post, self._groups, warn=self._warn)
        return self.node

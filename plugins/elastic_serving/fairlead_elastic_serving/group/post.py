"""Sends messages to instances of a group, this one included."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..links.link import Inbox, Lane, Link, LinkLost, Message, Received


class Post:
    """Who is reached over which link.

    Args:
        me: this instance.
        inbox: what everybody sends to it.
        links: that stand, by instance, as of now.
    """

    def __init__(self, me: str, inbox: Inbox, links: Callable[[], Mapping[str, Link]]) -> None:
        self.me = me
        self.inbox = inbox
        self._links = links

    @property
    def peers(self) -> tuple[str, ...]:
        """Instances that can be reached."""
        return tuple(sorted(self._links()))

    def send(self, to: str, lane: Lane, message: Message) -> None:
        """Send a message; raises LinkLost where there is no link."""
        if to == self.me:
            self.inbox.put(Received(self.me, lane, message))
            return
        link = self._links().get(to)
        if link is None:
            raise LinkLost(to, "there is none")
        link.send(lane, message)

    def try_send(self, to: str, lane: Lane, message: Message) -> bool:
        """Send a message; false where there is no link: whoever must know of the loss hears of it from the inbox."""
        try:
            self.send(to, lane, message)
        except LinkLost:
            return False
        return True

    def busy(self, to: str) -> bool:
        """Return whether activations wait for the way to an instance."""
        link = self._links().get(to)
        return link is not None and link.waiting(Lane.ACTIVATIONS) > 0

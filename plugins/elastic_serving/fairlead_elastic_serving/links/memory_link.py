"""Links within one process, for single steps: what one side sends is in the other's inbox at once, as its bytes.

Everything goes through the frames that a real link sends, so that what does not travel fails here as well.
"""

from __future__ import annotations

from .frames import decode, encode
from .link import Inbox, Lane, LinkLost, Message, Received


class MemoryLink:
    """One side of a pair."""

    def __init__(self, me: str, peer: str, theirs: Inbox, mine: Inbox) -> None:
        self._me = me
        self._peer = peer
        self._theirs = theirs
        self._mine = mine
        self._lost: str | None = None
        self.other: MemoryLink | None = None
        self.sent: list[tuple[Lane, str, int]] = []
        """Lane, kind and tensor bytes of every message that was sent."""
        self.held: list[tuple[Lane, Message]] | None = None
        """What was sent while the link is stalled; None while it is not."""

    @property
    def peer(self) -> str:
        """Name of the instance at the other end."""
        return self._peer

    @property
    def lost(self) -> str | None:
        """Why nothing goes over it any more."""
        return self._lost

    def waiting(self, lane: Lane) -> int:
        """Return how many messages of a lane a stalled link holds."""
        return sum(held is lane for held, _ in self.held or ())

    def send(self, lane: Lane, message: Message) -> None:
        """Deliver a message, or keep it while the link is stalled; raises LinkLost."""
        if self._lost is not None:
            raise LinkLost(self._peer, self._lost)
        self.sent.append((lane, message.kind, message.tensor_bytes))
        if self.held is not None:
            self.held.append((lane, message))
        else:
            self._theirs.put(Received(self._me, lane, decode(encode(message))))

    def resume(self) -> None:
        """Deliver what a stalled link held."""
        held, self.held = self.held or [], None
        for lane, message in held:
            self._theirs.put(Received(self._me, lane, decode(encode(message))))

    def close(self) -> None:
        """End it."""
        self.lose("closed")

    def lose(self, reason: str) -> None:
        """Cut the link: both sides learn of it, once."""
        for side in (self, self.other):
            if side is not None and side._lost is None:
                side._lost = reason
                side._mine.put(Received(side._peer, Lane.CONTROL, None, reason))


def memory_pair(first: str, second: str, inboxes: dict[str, Inbox]) -> tuple[MemoryLink, MemoryLink]:
    """Link two instances of one process; returns the side of the first, then that of the second."""
    one = MemoryLink(first, second, inboxes[second], inboxes[first])
    two = MemoryLink(second, first, inboxes[first], inboxes[second])
    one.other, two.other = two, one
    return one, two

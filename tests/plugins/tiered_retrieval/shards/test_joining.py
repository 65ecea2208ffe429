"""A replica that joins, and peers that are lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fairlead_tiered_retrieval.shards.joining import Replica
from fairlead_tiered_retrieval.shards.partition import Holder
from fairlead_tiered_retrieval.shards.peers import PeerLost

PEER = Holder(0, 1, "http://there")


class Peers:
    """One peer, which holds a collection and is lost for the first few calls."""

    replica, epoch = 1, 1

    def __init__(self, lost: int, *, named: bool = True, error: Exception | None = None) -> None:
        self.lost, self.named, self.calls = lost, named, list[str]()
        self.error = error or PeerLost("replica 0: ReadError")

    def holders(self) -> Sequence[Holder]:
        """Whom the agent names."""
        return (Holder(1, 0, None), *([PEER] if self.named else []))

    async def call(self, peer: Holder, method: str, path: str, *_: Any) -> dict[str, Any]:
        """Fail, or answer."""
        self.calls.append(path)
        if len(self.calls) <= self.lost:
            raise self.error
        return {"/stats": {"known": [[1, 1]], "dropped": {"old": 9}}, "/collections": {"collections": []}}[path]


def local(dropped: list[str]) -> Any:
    """A store with one collection, which the peer has dropped."""

    async def names() -> list[str]:
        return ["old"]

    async def drop(name: str) -> None:
        dropped.append(name)

    collection = SimpleNamespace(written_last=5)
    return SimpleNamespace(names=names, drop=drop, store=SimpleNamespace(collection=lambda name: collection))


async def test_a_peer_that_was_lost_on_the_way_is_asked_again() -> None:
    dropped, warned = list[str](), list[str]()
    replica = Replica(local(dropped), lambda event, **values: warned.append(values["reason"]))
    peers = Peers(lost=2)
    await replica.join(peers, [PEER])  # pyright: ignore[reportArgumentType]
    assert peers.calls == ["/stats", "/stats", "/stats", "/collections"]
    assert dropped == ["old"] and warned == [] and not replica.joining


@pytest.mark.parametrize(
    "peers",
    [Peers(lost=99, named=False), Peers(lost=99, error=OSError("disk full"))],
    ids=["not named any more", "no fault of the link"],
)
async def test_it_goes_on_without_a_peer_that_is_gone(peers: Peers) -> None:
    warned = list[str]()
    replica = Replica(local([]), lambda event, **values: warned.append(values["reason"]))
    assert await replica.join(peers, [PEER]) == 0  # pyright: ignore[reportArgumentType]
    assert peers.calls == ["/stats"] and str(peers.error) in warned[0] and not replica.joining

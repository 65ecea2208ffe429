"""How an instance that comes late gets what the other replicas of its shard hold, while writes go on.

What the others have deleted is deleted here, unless it was written here after that; pages of documents are fetched and
applied. What is written meanwhile is newer than either, so they leave it alone. Where deletions are forgotten that this
instance may have missed, its collection is made anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import NotFound
from ..service.backend import Answer, Fields
from ..service.bodies import CreateCollection, Delete, Get, Search, Upsert
from ..service.errors import ApiError
from ..service.local import Local
from .partition import Holder, Id
from .peers import PeerLost, Peers

PAGE = 500
TIMEOUT_S = 60.0
#: Within this the others have heard of this instance too, and pass on what is written; how often they are asked.
KNOWN_S, ASK_S = 30.0, 0.1
#: For so long a peer that named itself and is not reached is asked again.
LOST_S = 10.0


class Replica:
    """What this instance holds of its shard. While it joins it takes writes, and leaves reads to others.

    Args:
        local: its store.
        warn: hears of peers from which nothing could be fetched.
        known: the others to whom this instance passes writes on, replica and epoch of each.
    """

    def __init__(
        self,
        local: Local,
        warn: Callable[..., object] = lambda event, **values: None,
        known: Callable[[], list[list[int]]] = list,
    ) -> None:
        self._local, self._warn, self._known = local, warn, known
        self._written: set[tuple[str, Id]] = set()
        self._turn = asyncio.Lock()
        self._fetching = False
        #: It holds nothing, and does not know yet whether others do.
        self.waiting = False

    @property
    def joining(self) -> bool:
        """Whether others should be asked."""
        return self._fetching or self.waiting

    def __getattr__(self, name: str) -> Any:
        """Everything else is the store's."""
        return getattr(self._local, name)

    async def create(self, name: str, body: CreateCollection) -> Fields:
        """Make a collection; whoever makes one need not wait for others."""
        made = await self._local.create(name, body)
        self.waiting = False
        return made

    async def search(self, name: str, body: Search) -> Answer:
        """Search, unless another replica should be asked."""
        self._refuse()
        return await self._local.search(name, body)

    async def get(self, name: str, body: Get) -> Fields:
        """Get documents, unless another replica should be asked."""
        self._refuse()
        return await self._local.get(name, body)

    async def upsert(self, name: str, body: Upsert) -> Fields:
        """Write, and remember what was written while pages come."""
        return await self._write(name, body.ids, lambda: self._local.upsert(name, body))

    async def delete(self, name: str, body: Delete) -> Fields:
        """Delete; by a filter only once all is there to which it might apply."""
        if body.filter is not None:
            self._refuse()
        return await self._write(name, body.ids or (), lambda: self._local.delete(name, body))

    async def stats(self) -> Fields:
        """Of the store, whether it is joining, and whom it passes writes on to."""
        return {**await self._local.stats(), "joining": self.joining, "known": self._known()}

    async def join(self, peers: Peers, others: Iterable[Holder]) -> int:
        """Fetch what the other replicas of the shard hold; returns how many documents came.

        Documents of a replica that is itself joining are taken only where this one has none; its deletions carry their
        time, and count wherever nothing was written after them.
        """
        others, count = list(others), 0
        if not others:
            return 0
        self._fetching = True
        try:
            for peer in others:
                count += await self._patiently(peers, peer)
        finally:
            self._fetching = False
            self._written.clear()
        return count

    async def _patiently(self, peers: Peers, peer: Holder) -> int:
        """Fetch from a peer; again where it was lost on the way, for a while and as long as it holds its lease."""
        end = time.monotonic() + LOST_S
        while True:
            try:
                return await self._from(peers, peer)
            except Exception as error:  # whatever it was: reads are not refused for good
                lost = isinstance(error, PeerLost) and peer in peers.holders()
                if not lost or time.monotonic() > end:
                    why = f"{type(error).__name__}: {error}"
                    self._warn("a replica of this shard gave nothing", replica=peer.replica, reason=why)
                    return 0
            await asyncio.sleep(ASK_S)

    async def _from(self, peers: Peers, peer: Holder) -> int:
        said = await self._introduced(peers, peer)
        known = not said.get("joining")
        await self._drop_missed(said.get("dropped") or {})
        found, count = await peers.call(peer, "GET", "/collections", None, TIMEOUT_S, "own"), 0
        for each in found["collections"]:
            space = {key: each[key] for key in ("dim", "element", "metric")}
            await self._local.create(each["name"], CreateCollection(**space))
            await self._delete_missed(peers, peer, each["name"], CreateCollection(**space), anew=known)
            after: int | None = 0
            while after is not None:
                asked = {"after": after, "count": PAGE}
                page = await peers.call(peer, "POST", f"/collections/{each['name']}/scan", asked, TIMEOUT_S, "own")
                count += await self._apply(each["name"], page["documents"], newer=known)
                after = page["next"]
        return count

    async def _introduced(self, peers: Peers, peer: Holder) -> Fields:
        """What a peer says of itself, once it passes on to this instance what is written.

        What it took before is fetched from it after this; nothing lies between.
        """
        end = time.monotonic() + KNOWN_S
        while True:
            said = await peers.call(peer, "GET", "/stats", None, TIMEOUT_S, "own")
            # A peer of an older version does not say it.
            if "known" not in said or [peers.replica, peers.epoch] in said["known"]:
                return said
            if time.monotonic() > end:
                self._warn("a replica of this shard does not know this one", replica=peer.replica, seconds=KNOWN_S)
                return said
            await asyncio.sleep(ASK_S)

    async def _drop_missed(self, dropped: dict[str, int]) -> None:
        """Drop collections that a peer dropped, but those that were written here after that."""
        for name in await self._local.names():
            if name in dropped and self._local.store.collection(name).written_last < dropped[name]:
                await self._local.drop(name)

    async def _delete_missed(
        self, peers: Peers, peer: Holder, name: str, made: CreateCollection, *, anew: bool
    ) -> None:
        """Delete what the peer deleted while this instance was away."""
        after: int | None = 0
        while after is not None:
            page = await peers.call(peer, "POST", f"/collections/{name}/deletions", {"after": after}, TIMEOUT_S, "own")
            if anew and after == 0 and 0 < self._local.store.collection(name).written_last < page["since"]:
                self._warn("deletions since this replica was away are forgotten: it starts anew", collection=name)
                await self._local.drop(name)
                await self._local.create(name, made)
                return
            async with self._turn:
                pairs = zip(page["ids"], page["at"], strict=True)
                missed = {key: at for key, at in pairs if (name, key) not in self._written}
                collection = self._local.store.collection(name)
                await asyncio.to_thread(collection.delete_missed, list(missed), list(missed.values()))
            after = page["next"]

    async def _apply(self, name: str, documents: list[Fields], *, newer: bool) -> int:
        async with self._turn:
            fresh = [each for each in documents if (name, each["id"]) not in self._written]
            if not newer and fresh:
                there = await self._local.get(name, Get(ids=[each["id"] for each in fresh]))
                fresh = [one for one, mine in zip(fresh, there["documents"], strict=True) if mine is None]
            if fresh:
                await self._local.upsert(name, _upsert(fresh))
            return len(fresh)

    async def _write(self, name: str, ids: Iterable[Id], work: Callable[[], Any]) -> Fields:
        if not self.joining:
            return await work()
        async with self._turn:
            self._written.update((name, each) for each in ids)
            try:
                return await work()
            except NotFound:
                # The collection comes with the pages; whoever writes sends it again.
                raise ApiError(503, "this replica is joining its shard", kind="joining") from None

    def _refuse(self) -> None:
        if self.joining:
            raise ApiError(503, "this replica is joining its shard", kind="joining")


def _upsert(documents: list[Fields]) -> Upsert:
    return Upsert(
        ids=[each["id"] for each in documents],
        vectors=np.asarray([each["vector"] for each in documents]),
        texts=[each.get("text") for each in documents],
        metadata=[each.get("metadata") for each in documents],
    )

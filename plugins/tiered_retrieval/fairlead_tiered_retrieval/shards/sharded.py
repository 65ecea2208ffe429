"""One collection over several shards: every instance answers for all of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from ..service.application import LEAD, OWN
from ..service.backend import Answer, Fields
from ..service.bodies import (
    Body,
    Calibrate,
    CreateCollection,
    Delete,
    Deletions,
    Get,
    Maintain,
    Move,
    Recall,
    Restore,
    Scan,
    Search,
    Snapshot,
    Upsert,
)
from ..service.errors import ApiError
from ..settings import Scatter
from .hedging import Hedged, Patience, ShardLost
from .joining import Replica
from .partition import Holder, holders_of, merged, split
from .peers import PeerLost, Peers

T = TypeVar("T")
#: Of requests that take long on their own: moves, snapshots, recall.
LONG_S = 3600.0
#: Within this from its lease on, the agent has named the other instances to one that serves.
APPEAR_S, LOOK_S = 3.0, 0.1


class Sharded:
    """Asks the holders of each shard, itself among them, and makes one answer of theirs.

    Args:
        own: what this instance holds; None of it may be asked while it joins.
        peers: the others.
        shards: in all; replica r holds shard r modulo shards.
        scatter: patience with them.
    """

    def __init__(self, own: Replica, peers: Peers, shards: int, scatter: Scatter) -> None:
        self._own, self._peers, self._shards, self._scatter = own, peers, shards, scatter
        self._patience = [Patience(scatter.hedge_s) for _ in range(shards)]
        self._turn = 0
        #: Searches that asked a second replica, and that were answered in part.
        self.counts: Counter[str] = Counter()

    # --- searching ----------------------------------------------------------------------------------------------------

    async def search(self, name: str, body: Search) -> Answer:
        """Ask one replica of each shard at the same time, a second one where it is slow, and merge."""
        if self._shards == 1 and not self._own.joining:
            # This instance holds all there is.
            return await self._own.search(name, body)
        asked = _plain(body)
        answers = await self._each(lambda shard: self._search(shard, name, body, asked))
        there = [answer for answer in answers if not isinstance(answer, ShardLost)]
        missing = tuple(shard for shard, answer in enumerate(answers) if isinstance(answer, ShardLost))
        if missing:
            self._partial(missing, answers, nothing=not there)
        rows = [merged([answer.rows[query] for answer in there], body.k) for query in range(len(there[0].rows))]
        return Answer(
            rows,
            not missing and all(answer.complete for answer in there),
            missing,
            sum(answer.reads for answer in there),
            max(answer.round_trips for answer in there),
            sum(answer.tier_bytes for answer in there),
        )

    async def _search(self, shard: int, name: str, body: Search, asked: Fields) -> Answer:
        async def ask(holder: Holder) -> Answer:
            if holder.address is None:
                self._ready()
                return await self._own.search(name, body)
            found = await self._peers.call(holder, "POST", _path(name, "/search"), asked, self._scatter.timeout_s, OWN)
            return Answer(
                found["results"],
                found["complete"],
                (),
                found["reads"],
                found["round_trips"],
                found["tier_bytes"],
            )

        return await self._hedged(shard, ask)

    def _partial(self, missing: tuple[int, ...], answers: Sequence[Any], *, nothing: bool) -> None:
        self.counts["partial"] += 1
        if nothing or not self._scatter.partial:
            why = "; ".join(f"shard {shard}: {answers[shard]}" for shard in missing)
            raise ApiError(503, why, kind="shard_lost")

    async def get(self, name: str, body: Get) -> Fields:
        """Ask the shards that the ids belong to."""
        rows = split(body.ids, self._shards)

        async def ask(shard: int) -> list[Any]:
            asked = {"ids": [body.ids[row] for row in rows[shard]], "vectors": body.vectors}

            async def of(holder: Holder) -> Fields:
                if holder.address is None:
                    self._ready()
                    return await self._own.get(name, Get(**asked))
                return await self._peers.call(holder, "POST", _path(name, "/get"), asked, self._scatter.timeout_s, OWN)

            return (await self._hedged(shard, of))["documents"]

        found: list[Any] = [None] * len(body.ids)
        for shard, documents in zip(rows, await asyncio.gather(*(map(ask, rows))), strict=True):
            for row, document in zip(rows[shard], documents, strict=True):
                found[row] = document
        return {"documents": found}

    # --- writing ------------------------------------------------------------------------------------------------------

    async def upsert(self, name: str, body: Upsert) -> Fields:
        """Send each document to the leader of its shard, which passes it on to the shard's other replicas."""
        rows = split(body.ids, self._shards)

        async def write(shard: int) -> Fields:
            chosen = rows[shard]
            part = Upsert(
                ids=[body.ids[row] for row in chosen],
                vectors=_chosen(body.vectors, chosen),
                texts=None if body.texts is None else [body.texts[row] for row in chosen],
                metadata=None if body.metadata is None else [body.metadata[row] for row in chosen],
            )
            return await self._write(shard, name, "upsert", part)

        done = await asyncio.gather(*map(write, rows))
        return {"upserted": sum(each["upserted"] for each in done)}

    async def delete(self, name: str, body: Delete) -> Fields:
        """Delete on the leaders of the shards that are concerned."""
        parts = dict.fromkeys(range(self._shards), body)
        if body.ids is not None:
            chosen = split(body.ids, self._shards)
            parts = {shard: Delete(ids=[body.ids[row] for row in rows]) for shard, rows in chosen.items()}
        done = await asyncio.gather(*(self._write(shard, name, "delete", part) for shard, part in parts.items()))
        return {"deleted": sum(each["deleted"] for each in done)}

    async def _write(self, shard: int, name: str, what: str, body: Body) -> Fields:
        holders = holders_of(shard, self._shards, self._peers.holders())
        if not holders:
            raise ApiError(503, f"shard {shard}: no replica is ready", kind="shard_lost")
        leader = holders[0]
        if leader.address is None:
            return await self.lead(name, what, body)
        try:
            return await self._peers.call(leader, "POST", _path(name, f"/{what}"), _plain(body), LONG_S, LEAD)
        except PeerLost as error:
            raise ApiError(503, f"shard {shard}: {error}", kind="shard_lost") from None

    async def lead(self, name: str, what: str, body: Body) -> Fields:
        """Apply a write to this instance's shard, and to the shard's other replicas.

        Raises:
            ApiError: a replica did not take it; it is to be sent again.
        """
        done = await getattr(self._own, what)(name, body)
        mine = self._peers.replica % self._shards
        others = [each for each in holders_of(mine, self._shards, self._peers.holders()) if each.address is not None]
        asked = _plain(body) if others else {}
        calls = (self._peers.call(other, "POST", _path(name, f"/{what}"), asked, LONG_S, OWN) for other in others)
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, PeerLost):
                raise ApiError(503, f"shard {mine}: {answer}; send it again", kind="shard_lost")
            if isinstance(answer, BaseException):
                raise answer
        return done

    # --- on all instances ---------------------------------------------------------------------------------------------

    async def names(self) -> list[str]:
        """Collections are the same everywhere."""
        return await self._own.names()

    async def create(self, name: str, body: CreateCollection) -> Fields:
        """Make it on every instance."""
        found = await self._all("PUT", _path(name), _plain(body), lambda: self._own.create(name, body))
        return found[0]

    async def drop(self, name: str) -> Fields:
        """Delete it on every instance."""
        return (await self._all("DELETE", _path(name), None, lambda: self._own.drop(name)))[0]

    async def info(self, name: str) -> Fields:
        """Sum what one replica of each shard says."""
        own = await self._own.info(name)

        async def ask(shard: int) -> Fields:
            async def of(holder: Holder) -> Fields:
                if holder.address is None:
                    return own
                return await self._peers.call(holder, "GET", _path(name), None, self._scatter.timeout_s, OWN)

            return await self._hedged(shard, of)

        answers = await self._each(ask)
        there = [answer for answer in answers if not isinstance(answer, ShardLost)]
        sums = {key: sum(answer[key] for answer in there) for key in ("count", "dram_bytes", "tier_bytes")}
        kinds = {key: "+".join(sorted({answer[key] for answer in there})) for key in ("index", "tier")}
        missing = [shard for shard, answer in enumerate(answers) if isinstance(answer, ShardLost)]
        return {**own, **sums, **kinds, "shards": self._shards, "missing": missing}

    async def recall(self, name: str, body: Recall) -> Fields:
        """Take the mean over all instances, weighted by their queries."""
        return _mean(
            await self._all("POST", _path(name, "/recall"), _plain(body), lambda: self._own.recall(name, body))
        )

    async def calibrate(self, name: str, body: Calibrate) -> Fields:
        """Measure every instance's index by the queries."""
        path = _path(name, "/calibrate")
        found = await self._all("POST", path, _plain(body), lambda: self._own.calibrate(name, body))
        return {key: _mean([each[key] for each in found]) for key in ("before", "after")}

    async def move(self, name: str, body: Move) -> Fields:
        """Move the vectors of every instance."""
        found = await self._all("POST", _path(name, "/move"), _plain(body), lambda: self._own.move(name, body))
        sums = {key: sum(each[key] for each in found) for key in ("dram_bytes", "tier_bytes")}
        return {**found[0], **sums}

    async def snapshot(self, name: str, body: Snapshot) -> Fields:
        """Write a copy on every instance."""
        found = await self._all("POST", _path(name, "/snapshot"), _plain(body), lambda: self._own.snapshot(name, body))
        return {
            **found[0],
            "count": sum(each["count"] for each in found),
            "bytes": sum(each["bytes"] for each in found),
        }

    async def restore(self, name: str, body: Restore) -> Fields:
        """Make the new collection on every instance, of its own part of the snapshot."""
        found = await self._all("POST", _path(name, "/restore"), _plain(body), lambda: self._own.restore(name, body))
        return {**found[0], "count": sum(each["count"] for each in found)}

    async def deletions(self, name: str, body: Deletions) -> Fields:
        """A page of what was deleted on this instance."""
        return await self._own.deletions(name, body)

    async def maintain(self, name: str, body: Maintain) -> Fields:
        """Work on every instance."""
        found = await self._all("POST", _path(name, "/maintain"), _plain(body), lambda: self._own.maintain(name, body))
        left = [each for each in found if not each["finished"]]
        return (left or found)[0]

    async def tiers(self) -> Fields:
        """The tiers of all instances."""
        found = await self._all("GET", "/tiers", None, self._own.tiers)
        return {"tiers": [tier for each in found for tier in each["tiers"]]}

    async def stats(self) -> Fields:
        """Of this instance, and of its part in the whole."""
        holders = [holder.replica for holder in self._peers.holders()]
        return {**await self._own.stats(), "shards": self._shards, "replicas": sorted(holders), **self.counts}

    async def _all(self, method: str, path: str, body: Any, own: Callable[[], Awaitable[Fields]]) -> list[Fields]:
        """Ask every instance, this one first; one that does not answer is an error, as nothing may be left out."""
        mine = await own()
        others = [holder for holder in self._peers.holders() if holder.address is not None]
        try:
            calls = (self._peers.call(other, method, path, body, LONG_S, OWN) for other in others)
            return [mine, *await asyncio.gather(*calls)]
        except PeerLost as error:
            raise ApiError(503, f"{error}; send it again", kind="shard_lost") from None

    async def scan(self, name: str, body: Scan) -> Fields:
        """A page of what this instance holds."""
        return await self._own.scan(name, body)

    async def join(self) -> int:
        """Fetch what the other replicas of this instance's shard hold.

        An instance that holds nothing waits until the agent has named the others, before it answers for itself.
        """
        # Before the first await: no request comes earlier.
        self._own.waiting = not self._own.store.names()
        try:
            # Others are named to the holder of a lease alone; who is to follow a dead one stands by until that one's
            # lease has ended.
            while not self._peers.epoch:
                await asyncio.sleep(LOOK_S)
            end = time.monotonic() + APPEAR_S
            while time.monotonic() < end and not await self._peers.appeared(LOOK_S):
                pass
        finally:
            self._own.waiting = False
        mine = self._peers.replica % self._shards
        others = holders_of(mine, self._shards, self._peers.holders())
        return await self._own.join(self._peers, [each for each in others if each.address is not None])

    def _ready(self) -> None:
        if self._own.joining:
            raise PeerLost(f"replica {self._peers.replica} is joining its shard")

    # --- asking a shard -----------------------------------------------------------------------------------------------

    async def _each(self, ask: Callable[[int], Awaitable[T]]) -> list[T | ShardLost]:
        async def asked(shard: int) -> T | ShardLost:
            try:
                return await ask(shard)
            except ShardLost as error:
                return error

        return list(await asyncio.gather(*map(asked, range(self._shards))))

    async def _hedged(self, shard: int, ask: Callable[[Holder], Awaitable[T]]) -> T:
        holders = holders_of(shard, self._shards, self._peers.holders())
        self._turn += 1
        patience, began = self._patience[shard], time.monotonic()
        hedged = Hedged(
            _in_turn(holders, self._turn), ask, hedge_s=patience.seconds(), timeout_s=self._scatter.timeout_s
        )
        found = await hedged.answer()
        patience.saw(time.monotonic() - began)
        self.counts["hedged"] += hedged.asked > 1
        return found


def _in_turn(holders: Iterable[Holder], turn: int) -> list[Holder]:
    """This instance itself first, which costs no hop; the others by turns."""
    found = list(holders)
    near = [holder for holder in found if holder.address is None]
    far = [holder for holder in found if holder.address is not None]
    cut = turn % len(far) if far else 0
    return [*near, *far[cut:], *far[:cut]]


def _path(name: str, below: str = "") -> str:
    return f"/collections/{quote(name, safe='')}{below}"


def _plain(body: Body) -> Fields:
    """A request's fields as JSON has them, without those that were not given."""
    return {name: _listed(value) for name, value in body if value is not None}


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _chosen(vectors: Any, rows: Sequence[int]) -> Any:
    if vectors is None:
        return None
    return vectors[list(rows)] if isinstance(vectors, np.ndarray) else [vectors[row] for row in rows]


def _mean(found: Sequence[Fields]) -> Fields:
    """Of reports of recall, weighted by their queries."""
    queries = sum(each["queries"] for each in found)
    mean = {
        key: sum(each[key] * each["queries"] for each in found) / max(1, queries) for key in ("recall", "low", "high")
    }
    return {**found[0], **mean, "queries": queries}

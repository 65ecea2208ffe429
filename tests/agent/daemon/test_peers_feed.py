"""Whom instances are told of: nodes that died are left out once their leases have ended, an older epoch at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from fairlead_agent.bus.topics import Topics
from fairlead_agent.daemon.peers_feed import PeersFeed
from fairlead_agent.messages import InstanceReport, InstanceState, LeaseKey, NodeInstances, NodeStatus
from fairlead_agent.plugin.context import Peer

TTL_S = 0.05


class Time:
    """The time of the running event loop, as the test says."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        loop.time = lambda: self.now_s  # type: ignore[method-assign]

    async def go_on(self, seconds: float) -> None:
        """Let it pass, and what is due be done."""
        self.now_s += seconds
        for _ in range(5):
            await asyncio.sleep(0)


class Site:
    """A bus and a supervisor with one ready instance, in this process."""

    def __init__(self) -> None:
        self.node, self.topics = "here", Topics("site")
        self.handlers: dict[type, Any] = {}
        key = LeaseKey(site="site", workload="store", replica=0)
        spec = SimpleNamespace(negotiation="", ttl_s=TTL_S)
        self.mine = SimpleNamespace(key=key, spec=spec, state=InstanceState.READY, ended=False)
        self.shown: list[tuple[Peer, ...]] = []
        self.feed = PeersFeed(self, self)  # type: ignore[arg-type]
        self.feed._changed(None)  # type: ignore[arg-type]

    def watch(self, pattern: str, body: type, handler: Any) -> Any:
        self.handlers[body] = handler
        return lambda: None

    def subscribe(self, _: Any) -> None:
        """The test says itself what has changed."""

    def instances(self) -> list[Any]:
        return [self.mine]

    async def show_peers(self, key: LeaseKey, peers: tuple[Peer, ...], negotiation: str) -> None:
        self.shown.append(peers)

    async def hear(self, body: Any) -> None:
        await self.handlers[type(body)](SimpleNamespace(data=body), None)

    async def report(self, node: str, replica: int, epoch: int) -> None:
        key = LeaseKey(site="site", workload="store", replica=replica)
        report = InstanceReport(
            key=key, epoch=epoch, variant="dram", state=InstanceState.READY, address=f"http://{node}"
        )
        await self.hear(NodeInstances(node=node, incarnation=1, seq=1, instances=(report,)))

    async def status(self, node: str, incarnation: int, online: bool) -> None:
        await self.hear(NodeStatus(node=node, incarnation=incarnation, online=online))

    def peers(self) -> list[tuple[int, int]]:
        return sorted((peer.replica, peer.epoch) for peer in self.feed.peers_of(self.mine))  # type: ignore[arg-type]


def test_a_dead_nodes_instances_are_peers_until_their_leases_have_ended() -> None:
    async def run() -> None:
        site, time = Site(), Time()
        await site.status("other", 1, True)
        await site.report("other", 1, 4)
        await site.status("other", 1, False)
        assert site.peers() == [(1, 4)], "it may serve without its agent"
        await time.go_on(3 * TTL_S)
        assert site.peers() == []
        assert site.shown[-1] == ()
        await site.status("other", 2, True)
        assert site.peers() == [(1, 4)]

    asyncio.run(run())


def test_an_agent_that_is_back_in_time_and_a_stale_will_change_nothing() -> None:
    async def run() -> None:
        site, time = Site(), Time()
        await site.report("other", 1, 4)
        await site.status("other", 1, False)
        await site.status("other", 2, True)
        await site.status("other", 1, False)
        await time.go_on(3 * TTL_S)
        assert site.peers() == [(1, 4)]

    asyncio.run(run())


def test_of_a_replica_the_newest_epoch_counts() -> None:
    async def run() -> None:
        site = Site()
        await site.report("a-dead-node", 1, 4)
        await site.report("other", 1, 5)
        await site.report("third", 2, 1)
        assert site.peers() == [(1, 5), (2, 1)]

    asyncio.run(run())

"""Replicas find each other's doors over their data sockets."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from starlette.applications import Starlette

from fairlead_agent.plugin import Peer
from fairlead_elastic_serving.peering import DoorSign, Peering
from tests.patience import patient

WAIT_S = patient(60.0)


class Named:
    """Peers that a test names, as a worker's host does."""

    def __init__(self) -> None:
        self._peers: tuple[Peer, ...] = ()
        self._version = 0

    def show(self, *peers: Peer) -> None:
        self._peers, self._version = peers, self._version + 1

    async def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        seen = -1
        while True:
            if seen != self._version:
                seen = self._version
                yield self._peers
            await asyncio.sleep(0.01)


class Served:
    """An instance that tells its door."""

    def __init__(self, sign: DoorSign) -> None:
        app = Starlette(routes=[sign.route()])
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)

    def peer(self, replica: int) -> Peer:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return Peer(workload="w", replica=replica, node=f"n{replica}", epoch=1, address=f"http://127.0.0.1:{port}")

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_S)


@pytest.fixture
def instances() -> Iterator[list[Served]]:
    """One that fits, and one of another model."""
    signs = (DoorSign("00001.b", "127.0.0.1:4001", "m"), DoorSign("00002.c", "127.0.0.1:4002", "other"))
    made = [Served(sign) for sign in signs]
    yield made
    for one in made:
        one.close()


def until(told: list[dict[str, str]], wanted: dict[str, str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not told or told[-1] != wanted:
        assert time.monotonic() < deadline, f"{told}: not {wanted} in time"
        time.sleep(0.02)


def test_doors_of_peers_that_fit_are_known_until_they_are_gone(instances: list[Served]) -> None:
    named, told, warned = Named(), list[dict[str, str]](), list[str]()
    sign = DoorSign("00000.a", "127.0.0.1:4000", "m")
    peering = Peering(sign, named, lambda doors: told.append(dict(doors)), lambda event, **_: warned.append(event))
    peering.start()
    try:
        unreachable = Peer(workload="w", replica=7, node="phone", epoch=1, address=None)
        silent = Peer(workload="w", replica=8, node="dead", epoch=1, address="http://127.0.0.1:9")
        named.show(instances[0].peer(1), instances[1].peer(2), unreachable, silent)
        until(told, {"00001.b": "127.0.0.1:4001"})
        # Who does not answer in time is asked again.
        deadline = time.monotonic() + WAIT_S
        while not warned and time.monotonic() < deadline:
            time.sleep(0.02)
        assert warned == ["a peer serves in another way and is left alone"]
        named.show()
        until(told, {})
    finally:
        peering.close()


def test_it_may_be_closed_as_soon_as_it_was_started() -> None:
    peering = Peering(DoorSign("00000.a", "127.0.0.1:4000", "m"), Named(), lambda doors: None, lambda event, **_: None)
    peering.start()
    peering.close()


def test_what_is_no_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="accepted: name, door, model"):
        DoorSign.parse(b'{"name": "a"}')

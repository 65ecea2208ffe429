"""Workers of a retrieval workload in this process, each behind its own port, without the host."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry

from fairlead_agent.plugin import Budget, Peer
from fairlead_tiered_retrieval.client import Client, Retries
from fairlead_tiered_retrieval.worker import Worker
from tests.patience import patient


class Given:
    """What the worker host gives."""

    workload, node, host = "retrieval", "edge", "127.0.0.1"

    def __init__(self, folder: Path, replica: int = 0, variant: str = "dram", epoch: int = 1, **config: Any) -> None:
        self.replica, self.variant, self.epoch, self.cache_dir = replica, variant, epoch, folder
        self.instance = f"edge/instance/retrieval.{replica}"
        self.config = {"index_from": 1000, "report_s": 0, **config}
        self.budget = Budget(cores=1)
        silent = lambda event, **values: None
        # What a test that fails shows.
        self.log = SimpleNamespace(info=silent, warning=lambda event, **values: print(replica, event, values))
        self.metrics = CollectorRegistry()
        self.facts: dict[str, float] = {}
        self.named: tuple[Peer, ...] = ()
        self.changed = threading.Event()

    def progress(self, share: float, what: str) -> None:
        """Take it."""

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        """Take it."""
        self.facts[attribute] = value

    async def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        """What was named, whenever that changes."""
        seen: tuple[Peer, ...] | None = None
        while True:
            if seen != self.named:
                seen = self.named
                yield seen
            await asyncio.sleep(0.02)


class Served:
    """A worker that answers HTTP on a thread."""

    def __init__(self, folder: Path, replica: int = 0, peers: Sequence[Peer] = (), **config: Any) -> None:
        self.given = Given(folder, replica, **config)
        self.given.named = tuple(peers)
        self.worker = Worker()
        self.worker.prepare(self.given)
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        application = self.worker.application(self.given)
        self._server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    @property
    def peer(self) -> Peer:
        """As others are told of it."""
        return Peer(workload="retrieval", replica=self.given.replica, node="edge", epoch=1, address=self.url)

    def wait_joined(self) -> None:
        """Wait until it answers for itself."""
        deadline = time.monotonic() + patient(60)
        with self.client(attempts=6) as client:
            while client.stats().get("joining"):
                assert time.monotonic() < deadline, "it is still joining"
                time.sleep(0.02)

    def client(self, **options: Any) -> Client:
        """A client that does not try again."""
        return Client(self.url, retries=Retries(attempts=options.pop("attempts", 1)), **options)

    def stop(self) -> None:
        """Answer no more."""
        self._server.should_exit = True
        self._thread.join(patient(60))


def know_each_other(*served: Served) -> None:
    """Tell workers of each other."""
    for each in served:
        each.given.named = tuple(other.peer for other in served)
    for each in served:
        each.wait_joined()

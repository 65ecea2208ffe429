"""Two shards in two copies, placed by the agents: nodes die one after the other while a client searches and writes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fairlead_agent.config import load_workloads
from fairlead_tiered_retrieval.client import Client, CollectionClient, Retries
from tests.fleet.conftest import SHORT_TTL_S, Fleet, FleetMaker

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "retrieval"
NODES = {f"box-{number}": "edge-box" for number in range(5)}
COUNT, K = 400, 5
ROWS = np.random.default_rng(11).normal(size=(COUNT, 16)).astype(np.float32)
QUERIES = ROWS[:8] + np.float32(0.01)


def exact(rows: np.ndarray) -> list[list[int]]:
    """Ids of what is nearest."""
    apart = np.square(QUERIES[:, None] - rows[None]).sum(-1)
    return np.argsort(apart, axis=1, kind="stable")[:, :K].tolist()


class Searching:
    """A client that searches all the time on a thread; every complete answer has to be right."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.complete, self.partial, self.wrong = 0, 0, list[str]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Searching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def more(self, count: int = 5) -> None:
        """Wait for further complete answers."""
        seen = self.complete
        self._fleet.until(lambda: self.complete >= seen + count, "complete answers")

    def _run(self) -> None:
        with Client(self._fleet.local.url, token=self._fleet.local.admin_token(), workload=NAME) as client:
            while not self._ended.is_set():
                try:
                    found = client.collection("things").search(QUERIES, k=K)
                except Exception as error:
                    self.wrong.append(repr(error))
                    continue
                # Rows that are added meanwhile lie far away.
                if not found.complete:
                    self.partial += 1
                elif found.ids() == exact(ROWS):
                    self.complete += 1
                else:
                    self.wrong.append(f"{found.ids()}")


def holders(fleet: Fleet) -> dict[int, str]:
    """The nodes of the replicas; replica r holds shard r modulo 2."""
    return {replica: held["node"] for replica, held in fleet.holders(NAME).items()}


def whole(fleet: Fleet, things: CollectionClient, count: int) -> None:
    """Wait until four replicas hold all of it, none of them still fetching."""
    fleet.ready(NAME, 4)

    def there() -> bool:
        info = things.info()
        return info["count"] == count and info["missing"] == []

    fleet.until(there, f"{count} documents in both shards")


def test_nodes_die_one_after_the_other_and_nothing_is_lost(make_fleet: FleetMaker) -> None:
    fleet = make_fleet(agents=NODES, ttl_s=2 * SHORT_TTL_S, dwell_s=2.0)
    (workload,) = load_workloads(NAME)
    config = {**workload.config, "embedding": None, "shards": 2, "expected": {"vectors": 2000, "dim": 16}}
    fleet.apply(**workload.model_copy(update={"config": config, "replicas": 4}).model_dump(mode="json"))
    fleet.ready(NAME, 4)
    assert len(set(holders(fleet).values())) == 4, "two replicas share a node"

    with Client(fleet.local.url, token=fleet.local.admin_token(), workload=NAME, retries=Retries(12)) as client:
        things = client.create("things", dim=16, metric="l2")
        assert things.upsert(range(COUNT), ROWS) == COUNT
        whole(fleet, things, COUNT)
        assert things.search(QUERIES, k=K).ids() == exact(ROWS)
        written = COUNT
        with Searching(fleet) as searching:
            searching.more()
            # Both copies of shard 1 die in turn: what the second death leaves is what the new copy fetched.
            for replica in (1, 3):
                before = holders(fleet)
                fleet.kill(before[replica])
                searching.more()
                # A write waits for the dead replica's lease to end, and is then taken by those that are left.
                far = np.full((20, 16), 50 + replica, np.float32)
                assert things.upsert(range(written, written + 20), far) == 20
                written += 20
                fleet.until(
                    lambda replica=replica, node=before[replica]: holders(fleet).get(replica, node) != node,
                    f"replica {replica} on another node",
                )
                whole(fleet, things, written)
                searching.more()
                fleet.restart_agent(before[replica])
                fleet.wait_online({before[replica]})
        assert searching.wrong == [], searching.wrong[:3]
        kept = things.get(range(written))
        assert all(document is not None for document in kept)
        assert searching.partial == 0

"""kill -9 at random points: the next request succeeds on another node, and no lease has two voices."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from typing import Any

import httpx
import pytest

from tests.fleet.conftest import SHORT_TTL_S, TINY, Fleet, FleetMaker
from tests.patience import patient

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


class Caller:
    """Sends requests without pause and remembers who answered for which lease and epoch."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet, self._name = fleet, name
        self.answers: list[tuple[float, int, str]] = []
        self.voices: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(patient(120))

    def await_answer(self, since: float) -> None:
        """Wait for an answer to come in after ``since``."""
        self._fleet.until(lambda: [a for a in self.answers if a[0] > since], "an answer after the death")

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._fleet.local.admin_token()}"}
        body: dict[str, Any] = {"model": self._name, "prompt": "It was", "max_tokens": 16, "temperature": 0}
        with httpx.Client(base_url=self._fleet.local.url, headers=headers, timeout=patient(120)) as http:
            while not self._stopped.is_set():
                answer = http.post("/v1/completions", json=body)
                node = answer.headers.get("fairlead-node", "")
                self.answers.append((time.monotonic(), answer.status_code, node))
                if answer.status_code == 200:
                    self.voices[(answer.headers["fairlead-replica"], answer.headers["fairlead-epoch"])].add(node)


def test_killing_agent_and_worker_at_random_points_costs_no_request(make_fleet: FleetMaker) -> None:
    """Five points: after each, the next request is answered, by another node."""
    fleet = make_fleet(ttl_s=SHORT_TTL_S)
    fleet.apply(**TINY, replicas=2)
    fleet.ready("tiny-chat")
    dice = random.Random(7)
    with Caller(fleet, "tiny-chat") as caller:
        for _ in range(5):
            time.sleep(dice.uniform(0.05, 0.6))  # the point itself is what is random
            holders = fleet.until(lambda: fleet.holders("tiny-chat"), "holders")
            victim = dice.choice(sorted(holder["node"] for holder in holders.values()))
            fleet.kill(victim)
            killed_at = time.monotonic()
            caller.await_answer(killed_at + 0.05)
            fleet.wait_offline(victim)
            view = fleet.ready("tiny-chat", 2)
            assert victim not in {slot["node"] for slot in view["slots"]}
            fleet.restart_agent(victim)
            fleet.wait_online({victim})
    statuses = [status for _, status, _ in caller.answers]
    assert set(statuses) == {200}, f"{len(statuses)} requests, {statuses.count(200)} answered"
    assert all(len(nodes) == 1 for nodes in caller.voices.values()), dict(caller.voices)


def test_the_only_replica_is_placed_again(make_fleet: FleetMaker) -> None:
    """With one replica a request waits for the new holder; epochs only grow."""
    fleet = make_fleet(ttl_s=SHORT_TTL_S)
    fleet.apply(**TINY, replicas=1)
    before = fleet.ready("tiny-chat")["slots"][0]
    fleet.kill(before["node"])
    answer = fleet.complete("tiny-chat")
    assert answer.status_code == 200
    assert answer.headers["fairlead-node"] != before["node"]
    after = fleet.ready("tiny-chat")["slots"][0]
    assert after["epoch"] > before["epoch"]


def test_an_agent_that_is_started_again_adopts_its_workers(make_fleet: FleetMaker) -> None:
    """Only the agent dies: its worker serves on until the lease ends, and the next agent takes it over."""
    fleet = make_fleet()
    fleet.apply(**TINY, replicas=1)
    slot = fleet.ready("tiny-chat")["slots"][0]
    holder = fleet.holders("tiny-chat")[0]
    fleet.kill(slot["node"], workers=False)
    fleet.restart_agent(slot["node"])

    def adopted() -> bool:
        nodes = {node["status"]["node"]: node["status"] for node in fleet.get("/api/v1/nodes")}
        now = fleet.holders("tiny-chat").get(0)
        same = now is not None and (now["pid"], now["epoch"]) == (holder["pid"], holder["epoch"])
        return same and nodes[slot["node"]]["incarnation"] == 2

    fleet.until(adopted, "the worker adopted")
    assert fleet.complete("tiny-chat").status_code == 200


def test_a_killed_worker_comes_back(make_fleet: FleetMaker) -> None:
    """Only the worker dies: its agent starts it again, or another node takes over; clients notice nothing."""
    import os
    import signal

    fleet = make_fleet(ttl_s=SHORT_TTL_S)
    fleet.apply(**TINY, replicas=2)
    fleet.ready("tiny-chat")
    os.kill(fleet.holders("tiny-chat")[0]["pid"], signal.SIGKILL)
    assert {fleet.complete("tiny-chat").status_code for _ in range(5)} == {200}
    fleet.ready("tiny-chat", 2)

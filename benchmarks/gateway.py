"""What the gateway adds to a request. Run: ``python -m benchmarks.gateway``.

The same small request goes in turn to a worker directly and through the gateway, each over one kept-alive connection:
the peer of each row is the direct way, and the overhead is the difference of the two. A third way, to a node that is
reached over MQTT only, is measured for information.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, row
from benchmarks.running_fleet import TINY, RunningFleet, local_config

LIMIT_MS = 3.0
REQUESTS, QUICK_REQUESTS, WARM_UP = 500, 50, 30
#: The workload and the node that each way leads to.
NEAR, FAR = ("near", "edge"), ("far", "phone")


@dataclass(frozen=True, slots=True)
class Ask:
    """One small request."""

    name: str
    method: str
    path: str
    body: bytes = b""


def asks() -> tuple[Ask, ...]:
    """A request that costs the worker nothing, and a real one."""
    completion = json.dumps({"model": TINY["config"]["model"], "prompt": "It was", "max_tokens": 1, "temperature": 0})
    return (
        Ask("GET /health", "GET", "/health"),
        Ask("POST /v1/completions, 1 token", "POST", "/v1/completions", completion.encode()),
    )


class Way:
    """A kept-alive connection to a server, and what is put in front of each path."""

    def __init__(self, url: str, prefix: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._prefix, self._headers = prefix, headers

    def time_ms(self, ask: Ask) -> float:
        """Send one request; milliseconds until its whole answer is there.

        Raises:
            RuntimeError: the answer is no success.
        """
        headers = {**self._headers, **({"Content-Type": "application/json"} if ask.body else {})}
        began = time.perf_counter()
        self._connection.request(ask.method, self._prefix + ask.path, ask.body or None, headers)
        answer = self._connection.getresponse()
        body = answer.read()
        passed = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"{self._prefix}{ask.path}: {answer.status} {body[:200]!r}")
        return 1e3 * passed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def place(fleet: RunningFleet) -> None:
    """One instance that is reached directly, and one behind MQTT."""
    for name, node in (NEAR, FAR):
        fleet.apply(**{**TINY, "name": name, "constraints": {"nodes": [node]}})
    for name, _ in (NEAR, FAR):
        fleet.wait_ready(name)


def ways(fleet: RunningFleet) -> dict[str, Way]:
    """To the worker directly, through the gateway, and through gateway and MQTT."""
    worker = fleet.until(lambda: fleet.instances(NEAR[0]).get(NEAR[1]), "the instance's address")
    direct = {"Fairlead-Epoch": str(worker["epoch"])}
    return {
        "direct": Way(worker["address"], "", direct),
        "gateway": Way(fleet.local.url, f"/workloads/{NEAR[0]}", fleet.headers()),
        "mqtt": Way(fleet.local.url, f"/workloads/{FAR[0]}", fleet.headers()),
    }


def take_turns(ways: dict[str, Way], ask: Ask, count: int) -> dict[str, list[float]]:
    """``count`` requests each way, in turn, so that whatever else the machine does meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            times[name].append(way.time_ms(ask))
    return times


def rows(ways: dict[str, Way], ask: Ask, options: Options) -> Iterator[Row]:
    """All rows of one request."""
    count = QUICK_REQUESTS if options.quick else REQUESTS
    take_turns(ways, ask, WARM_UP)
    rounds = [take_turns(ways, ask, count) for _ in range(options.repeats)]
    case = f"{ask.name}, one client, {count} requests a repeat"
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        direct, gateway, mqtt = (
            [quantile(times[way], share) for times in rounds] for way in ("direct", "gateway", "mqtt")
        )
        added = [through - straight for through, straight in zip(gateway, direct, strict=True)]
        yield row(case, f"latency {name} through the gateway (peer: the worker directly)", "ms", gateway, direct)
        yield row(case, f"overhead of the gateway at {name}", "ms", added, limit=LIMIT_MS if name == "p50" else None)
        yield row(case, f"latency {name} through the gateway and MQTT", "ms", mqtt)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/gateway.json."""
    options = parse("gateway", __doc__, repeats=5, quick=1, arguments=arguments)
    with RunningFleet(local_config(workloads=())) as fleet:
        place(fleet)
        found = ways(fleet)
        measured = [item for ask in asks() for item in rows(found, ask, options)]
        for way in found.values():
            way.close()
    conditions = {
        "broker": "mosquitto",
        "client": "http.client, one kept-alive connection each way, requests one after the other, ways in turn",
        "requests": REQUESTS,
        "all_on_one_machine": True,
    }
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

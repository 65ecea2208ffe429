"""How long a site negotiates. Run: ``python -m benchmarks.negotiation``.

3, 30 and 300 real agents (several to a process, one MQTT session each) on mosquitto, with a real control plane that is
authority and steward. Workloads are applied one after the other; each is placed, serves, and is deleted before the
next. Everything is real, down to the worker that starts; the plugin is the one of the template, whose estimate is a few
multiplications.

The negotiation is measured from just before the HTTP request that applies the workload to the reply-ack that the
steward sends to the winner with the epoch: store and sign, call, bids, award, accept, grant, reply-ack. Times are those
that each message carries, listened to by one more client. The time to ready is measured apart: it contains the start of
the worker, which begins with the award and shares the machine with the rest of the negotiation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from benchmarks.crowd import Crowd
from benchmarks.negotiation_trace import Trace, holds, trace
from benchmarks.observer import Observer
from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, row
from benchmarks.running_fleet import RunningFleet, local_config
from fairlead_agent.config import AgentEntry, FleetConfig
from fairlead_agent.daemon.fleet import CONTROL_PLANE
from fairlead_agent.messages import Envelope, NodeInstances
from fairlead_agent.plugin.new import new_plugin

PLUGIN = "echo"
WAIT_S = 40.0
GIVE_UP_AFTER = 3
#: Agents that may be stewards when the control plane is gone: they follow the whole site, as the control plane does.
STEWARDS = 3


@dataclass(frozen=True, slots=True)
class Size:
    """A site, and how much is measured on it."""

    agents: int
    per_process: int
    sense_interval_s: float
    share: float
    """Of the asked repeats."""


SIZES = (Size(3, 1, 5.0, 1.0), Size(30, 10, 5.0, 1.0), Size(300, 50, 60.0, 0.3))
STAGES = (
    ("apply", "call", "stored, signed, published, and the call sent"),
    ("call", "award", "call to award: bids of all agents, or the deadline of 1 s"),
    ("award", "accept", "award to accept"),
    ("accept", "grant", "accept to the authority's durable grant"),
    ("grant", "reply-ack", "grant to reply-ack"),
)


def fleet_of(size: Size) -> RunningFleet:
    """A site of so many agents with the template's plugin."""
    entries = tuple(AgentEntry(name=f"node-{index}", profile="") for index in range(size.agents))
    config = local_config(agents=entries, workloads=(), lease_ttl=15.0)
    return RunningFleet(config, lambda config, folder: _crowd(config, folder, size))


def _crowd(config: FleetConfig, folder: Path, size: Size) -> Crowd:
    new_plugin(PLUGIN, folder / "plugins")
    profiles = {rank: _profile(folder / f"{rank}.yaml", steward=rank == "steward") for rank in ("steward", "plain")}
    entries = tuple(
        entry.model_copy(update={"profile": profiles["steward" if index < STEWARDS else "plain"]})
        for index, entry in enumerate(config.agents)
    )
    config = config.model_copy(update={"agents": entries})
    return Crowd(
        config,
        folder / "site",
        plugins=folder / "plugins",
        per_process=size.per_process,
        sense_interval_s=size.sense_interval_s,
    )


def _profile(path: Path, *, steward: bool) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    budget = {"dram": "512 MiB", "storage": "1 GiB", "cores": 1}
    path.write_text(yaml.safe_dump({"name": path.stem, "budget": budget, "policy": {"steward": steward}}))
    return str(path)


async def negotiate(fleet: RunningFleet, crowd: Crowd, count: int) -> list[Trace | None]:
    """Apply, place and delete so many workloads, one after the other; the first, which warms up, is not counted.

    None stands for one that did not come to its end in time. After three of them in a row the rest is not tried.
    """
    observer = Observer(crowd.observer(), crowd.config.site, CONTROL_PLANE)
    await observer.start()
    traces: list[Trace | None] = []
    async with httpx.AsyncClient(base_url=crowd.url, headers=fleet.headers(), timeout=60.0) as client:
        for number in range(count + 1):
            traces.append(await _attempt(client, observer, f"work-{number}"))
            if len(traces) >= GIVE_UP_AFTER and not any(traces[-GIVE_UP_AFTER:]):
                traces += [None] * (count - number)
                break
    await observer.stop()
    return traces[1:]


async def _attempt(client: httpx.AsyncClient, observer: Observer, name: str) -> Trace | None:
    try:
        return await _one(client, observer, name)
    except (TimeoutError, ValueError) as error:
        print(f"{name}: {error or 'not placed and ready'} within {WAIT_S:g} s", flush=True)
        await client.delete(f"/api/v1/workloads/{name}")
        return None


async def _one(client: httpx.AsyncClient, observer: Observer, name: str) -> Trace:
    observer.take()
    applied_at = time.time()
    answer = await client.put(f"/api/v1/workloads/{name}", json={"name": name, "plugin": PLUGIN})
    answer.raise_for_status()
    await observer.until(lambda reports: _held(reports, name, ready=True), WAIT_S)
    found = await _complete(observer, name, applied_at)
    (await client.delete(f"/api/v1/workloads/{name}")).raise_for_status()
    await observer.until(lambda reports: not _held(reports, name), WAIT_S)
    await _until_free(client, name)
    return found


def _held(reports: Iterable[NodeInstances], name: str, *, ready: bool = False) -> bool:
    return any(holds(report, name, ready=ready) for report in reports)


async def _complete(observer: Observer, name: str, applied_at: float) -> Trace:
    """The trace, as soon as the last of its messages was heard."""
    heard: list[Envelope] = []
    deadline = time.monotonic() + WAIT_S
    while True:
        heard += observer.take()
        try:
            return trace(name, applied_at, heard)
        except ValueError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


async def _until_free(client: httpx.AsyncClient, name: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        leases = (await client.get("/api/v1/leases")).json()
        if all(lease["node"] is None for lease in leases if lease["workload"] == name):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"the lease of {name} was not released within {WAIT_S:g} s")


def rows(size: Size, found: Sequence[Trace | None]) -> Iterator[Row]:
    """The rows of one site."""
    case = f"{size.agents} agents, {len(found)} negotiations one after the other"
    traces = [one for one in found if one is not None]
    missed = len(found) - len(traces)
    yield row(case, f"not placed and ready within {WAIT_S:g} s", "negotiations", [missed], limit=0)
    if not traces:
        return
    ends = {
        "reply-ack": "apply to the reply-ack with the epoch",
        "placed": "apply to the record that says placed",
        "ready": "apply to the worker's readiness",
    }
    for end, metric in ends.items():
        for share in (0.5, 0.99):
            passed = [one.passed_s("apply", end) for one in traces]
            yield row(case, f"{metric}, p{100 * share:g}", "ms", [1e3 * quantile(passed, share)])
    for start, end, what in STAGES:
        passed = [one.passed_s(start, end) for one in traces]
        yield row(case, f"{what}, p50", "ms", [1e3 * quantile(passed, 0.5)])
    yield row(case, "agents that had bid before the award, fewest", "agents", [min(len(one.bidders) for one in traces)])


def run_size(size: Size, options: Options) -> list[Row]:
    """Measure one site."""
    with fleet_of(size) as fleet:
        crowd = fleet.local
        assert isinstance(crowd, Crowd)
        count = max(1, round(options.repeats * size.share))
        traces = fleet.run(negotiate(fleet, crowd, count), 60.0 + WAIT_S * (count + 1))
    found = list(rows(size, traces))
    print(f"{size.agents} agents: {len(traces)} negotiations done", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/negotiation.json. ``--repeats``: negotiations; 30 % of them with 300 agents."""
    options = parse("negotiation", __doc__, repeats=100, quick=3, arguments=arguments)
    measured = [item for size in SIZES for item in run_size(size, options)]
    conditions = {
        "broker": "mosquitto, one session per agent, on the same machine as all agents, control plane and workers",
        "processes_of_agents": {size.agents: -(-size.agents // size.per_process) for size in SIZES},
        "sense_interval_s": {size.agents: size.sense_interval_s for size in SIZES},
        "stewards": f"the control plane; {STEWARDS} agents besides follow the whole site",
        "plugin": "the template's: its estimate is a few multiplications",
        "workers": "real; their start begins with the award and shares the machine with the rest of the negotiation",
        "clock": "the time stamps of the messages, one machine's clock",
    }
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

"""How soon clients are answered again when a node dies. Run: ``python -m benchmarks.recovery``.

In the local fleet (lease TTL 3 s), the agent that serves and its worker are killed with SIGKILL at random times, while
clients keep asking through the gateway. The time to recover is from the kill to the first successful answer to a
request that was sent after it. With one replica the lease of the dead holder must run out first: a successor cannot be
granted its epoch before TTL (1 + rho) / (1 - rho) + margin after the last renewal. With two, the other one answers.
The killed agent is started again after each point.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.lease_history import stale, tenures
from benchmarks.load import Answer, Load
from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, row
from benchmarks.running_fleet import TINY, RunningFleet, local_config
from fairlead_agent.config import FleetConfig

LIMIT_S = 5.0
#: The point lies anywhere within this after all is well: about two renewals of the lease.
POINT_WITHIN_S = 2.0
#: What is looked for in the event log after each kill, in the order in which it comes.
MILESTONES = {
    "node.offline": "the death is known",
    "lease.granted": "a successor has the epoch",
    "instance.ready": "a successor reports that it is ready",
}


@dataclass(slots=True)
class Outcome:
    """What the points of one case came to."""

    recovery_s: list[float] = field(default_factory=list[float])
    milestones_s: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MILESTONES})
    answers: list[Answer] = field(default_factory=list[Answer])
    stale: int = 0


def run_case(config: FleetConfig, replicas: int, options: Options) -> Outcome:
    """All points of one case, on a fleet of its own."""
    random, outcome = Random(f"{options.seed} {replicas}"), Outcome()
    name = TINY["name"]
    with RunningFleet(config) as fleet:
        fleet.apply(**TINY, replicas=replicas)
        fleet.wait_ready(name)
        with Load(fleet.local.url, fleet.headers(), name) as load:
            for number in range(options.repeats):
                said = point(fleet, load, random, outcome)
                print(f"{replicas} replica(s), point {number + 1}: {outcome.recovery_s[-1]:.2f} s{said}", flush=True)
        outcome.answers = load.answers
        outcome.stale = len(stale(load.answers, tenures(all_events(fleet))))
    return outcome


def point(fleet: RunningFleet, load: Load, random: Random, outcome: Outcome) -> str:
    """Kill one holder at a random time, wait for the next answer, and bring the node back.

    Returns:
        What happened when, where it took longer than promised.
    """
    time.sleep(random.uniform(0, POINT_WITHIN_S))
    holders = fleet.until(lambda: fleet.instances(TINY["name"]), "a holder")
    victim = random.choice(sorted(holders))
    killed_at = fleet.kill_node(victim, [holders[victim]["pid"]])
    answer = fleet.until(lambda: load.first_after(killed_at), "an answer after the kill", every_s=0.01)
    outcome.recovery_s.append(answer.done_at - killed_at)
    fleet.restart_agent(victim)
    fleet.wait_ready(TINY["name"])
    events = all_events(fleet)
    for name, passed_s in milestones(events, killed_at).items():
        outcome.milestones_s[name].append(passed_s)
    if answer.done_at - killed_at <= LIMIT_S:
        return ""
    return f", {victim} was killed:\n" + "\n".join(timeline(events, killed_at, answer.done_at))


def timeline(events: Sequence[dict[str, Any]], killed_at: float, until: float) -> list[str]:
    """What the event log says from shortly before a kill to the next answer, one line each."""
    return [
        f"  {event['time'] - killed_at:+7.3f} s {event['type']} {event['subject']} {event['data']}"
        for event in events
        if killed_at - LIMIT_S < event["time"] <= until
    ]


def milestones(events: Sequence[dict[str, Any]], killed_at: float) -> dict[str, float]:
    """Seconds from the kill to the first event of each kind after it."""
    found: dict[str, float] = {}
    for event in events:
        if event["time"] > killed_at and event["type"] in MILESTONES:
            found.setdefault(event["type"], event["time"] - killed_at)
    return found


def all_events(fleet: RunningFleet) -> list[dict[str, Any]]:
    """The whole event log."""
    events: list[dict[str, Any]] = []
    while page := fleet.get(f"/api/v1/events/log?limit=5000&after={events[-1]['seq'] if events else 0}"):
        events += page
    return events


def rows(replicas: int, outcome: Outcome) -> Iterator[Row]:
    """The rows of one case."""
    case = f"{replicas} replica{'s' if replicas > 1 else ''}, {len(outcome.recovery_s)} kills of agent and worker"
    yield row(case, "time to recover, longest", "s", [max(outcome.recovery_s)], limit=LIMIT_S)
    for share in (0.5, 0.9):
        yield row(case, f"time to recover, p{100 * share:g}", "s", [quantile(outcome.recovery_s, share)])
    for name, what in MILESTONES.items():
        if outcome.milestones_s[name]:
            yield row(case, f"until {what}, p50", "s", [quantile(outcome.milestones_s[name], 0.5)])
    answered = [answer.done_at - answer.sent_at for answer in outcome.answers if answer.success]
    failed = [answer for answer in outcome.answers if not answer.success]
    for answer in failed[:5]:
        print(f"failed: {answer.status} {answer.said}")
    yield row(case, "longest wait of a request that was answered", "s", [max(answered)])
    yield row(case, f"requests without success, of {len(outcome.answers)}", "requests", [len(failed)], limit=0)
    metric = f"accepted answers of a holder whose epoch was not current, of {len(answered)}"
    yield row(case, metric, "answers", [outcome.stale], limit=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/recovery.json. ``--repeats``: kills per case."""
    options = parse("recovery", __doc__, repeats=25, quick=2, arguments=arguments)
    config = local_config(workloads=())
    measured = [item for replicas in (1, 2) for item in rows(replicas, run_case(config, replicas, options))]
    conditions = {
        "broker": "mosquitto",
        "lease_ttl_s": config.lease_ttl_s,
        "agents": [agent.profile for agent in config.agents],
        "clients": "2, each sending completions of 4 tokens one after the other",
        "gateway_wait_s": 20.0,
        "all_on_one_machine": True,
    }
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

"""Which node held which lease when, by the control plane's event log; finds answers that came from a fenced holder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Answer


@dataclass(frozen=True, slots=True)
class Tenure:
    """An epoch of a key, from its grant until the key was released or granted anew. Unix seconds."""

    key: str
    node: str
    epoch: int
    since: float
    until: float


def tenures(events: Iterable[Mapping[str, Any]]) -> list[Tenure]:
    """All tenures in a log of events in their order."""
    by_key: dict[str, list[Tenure]] = {}
    for event in events:
        if event["type"] not in ("lease.granted", "lease.released"):
            continue
        known = by_key.setdefault(event["subject"], [])
        if known and known[-1].until == float("inf"):
            last = known.pop()
            known.append(Tenure(last.key, last.node, last.epoch, last.since, event["time"]))
        if event["type"] == "lease.granted":
            data = event["data"]
            known.append(Tenure(event["subject"], data["node"], data["epoch"], event["time"], float("inf")))
    return [tenure for known in by_key.values() for tenure in known]


def stale(answers: Iterable[Answer], history: Iterable[Tenure]) -> list[Answer]:
    """Accepted answers from a node and epoch that were not current at any time while the request was under way."""
    held: dict[tuple[str, int], list[Tenure]] = {}
    for tenure in history:
        held.setdefault((tenure.node, tenure.epoch), []).append(tenure)
    return [answer for answer in answers if answer.success and not _current(answer, held)]


def _current(answer: Answer, held: Mapping[tuple[str, int], list[Tenure]]) -> bool:
    named = held.get((answer.node, answer.epoch), [])
    return any(tenure.since <= answer.done_at and answer.sent_at <= tenure.until for tenure in named)

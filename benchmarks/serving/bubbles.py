"""For how much of the time stages of a group waited while there was work in it.

All instances of a machine share the monotonic clock, so that what each noted is put together exactly: flights of its
own microbatches, its waits, and its times in groups. A run goes on for as long as anything is in flight anywhere; in
the pauses in which a driver only draws tokens, or ends one step to begin the next, the pipeline has not run dry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Span = tuple[float, float]
#: Between two microbatches of one run.
PAUSE_S = 2e-3
#: The promise speaks of as many.
MANY = 12


@dataclass(frozen=True, slots=True)
class Idle:
    """Waits of all stages.

    Attributes:
        seconds: of all stages together, waits included.
        waited: of them.
        microbatches: that began in these times.
        bound: of the waits, while fewer microbatches were in flight than there are stages: whatever is done about
            cutting and order, so many stages have nothing to compute then.
    """

    seconds: float
    waited: float
    microbatches: int
    bound: float = 0.0

    @property
    def share(self) -> float:
        """Of the time."""
        return self.waited / self.seconds

    @property
    def least_share(self) -> float:
        """Of the time, below which no cutting and no order of what was in flight comes."""
        return self.bound / self.seconds


def in_runs(told: Sequence[Mapping[str, Any]], least: int = 1) -> Idle | None:
    """Over runs of at least so many microbatches, one after the other, of all drivers; None if there was none."""
    flights = _flights(told)
    runs: list[tuple[Span, int]] = []
    for began, ended in flights:
        if runs and began <= runs[-1][0][1] + PAUSE_S:
            (first, last), number = runs[-1]
            runs[-1] = (first, max(last, ended)), number + 1
        else:
            runs.append(((began, ended), 1))
    return _over(told, [span for span, number in runs if number >= least], flights)


def at_once(told: Sequence[Mapping[str, Any]], least: int) -> Idle | None:
    """Over the times in which at least so many were in flight together; None if there was none."""
    flights = _flights(told)
    return _over(told, list(_together(flights, least)), flights)


def _together(flights: Sequence[Span], least: int) -> Iterator[Span]:
    """When at least so many were in flight."""
    changes = sorted([(began, 1) for began, _ in flights] + [(ended, -1) for _, ended in flights])
    number, since = 0, 0.0
    for at, change in changes:
        before, number = number, number + change
        if before < least <= number:
            since = at
        elif number < least <= before and at > since:
            yield since, at


def _flights(told: Sequence[Mapping[str, Any]]) -> list[Span]:
    return sorted((began, ended) for one in told for began, ended in one.get("flights", ()))


def _over(told: Sequence[Mapping[str, Any]], spans: Sequence[Span], flights: Sequence[Span]) -> Idle | None:
    """Waits within spans in which all instances were in a group."""
    for one in told:
        spans = list(_both(spans, sorted(map(tuple, one.get("groups", ())))))
    seconds = len(told) * sum(ended - began for began, ended in spans)
    if not seconds:
        return None
    waited = sum(_length(_both(spans, _apart(one["idles"]))) for one in told)
    # A stage each is at work at most, for each number of microbatches that were in flight together.
    at_work = sum(_length(_both(spans, list(_together(flights, number)))) for number in range(1, len(told) + 1))
    started = sum(1 for _ in _within(spans, [began for began, _ in flights]))
    return Idle(seconds, waited, started, seconds - at_work)


def _apart(spans: Iterable[Sequence[float]]) -> list[Span]:
    """Spans in order, those that overlap joined."""
    found: list[Span] = []
    for began, ended in sorted(map(tuple, spans)):
        if found and began <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], ended)
        else:
            found.append((began, ended))
    return found


def _both(some: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """Where spans in order and others in order overlap."""
    place = 0
    for began, ended in some:
        while place < len(others) and others[place][1] <= began:
            place += 1
        after = place
        while after < len(others) and others[after][0] < ended:
            yield max(began, others[after][0]), min(ended, others[after][1])
            after += 1


def _within(spans: Sequence[Span], times: Sequence[float]) -> Iterator[float]:
    place = 0
    for at in times:
        while place < len(spans) and spans[place][1] <= at:
            place += 1
        if place < len(spans) and spans[place][0] <= at:
            yield at


def _length(spans: Iterable[Span]) -> float:
    return sum(ended - began for began, ended in spans)

"""Keeps the classes of a link at rates that somebody decides again and again, such as a scheduler of a radio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fairlead_bridge.reading import Missing
from fairlead_bridge.shaping.apply import Shaper
from fairlead_bridge.shaping.errors import PlanError, ShapingError
from fairlead_bridge.shaping.facts import class_facts
from fairlead_bridge.shaping.journal import DEFAULT_DIRECTORY
from fairlead_bridge.shaping.match import Match
from fairlead_bridge.shaping.plan import RATE_MIN, ClassTree, ShapingPlan, TrafficClass
from fairlead_bridge.shaping.statistics import Queues, QueueSensor

#: The default class of a plan of rates.
REST = "rest"
_TOTAL_BITS_PER_S = 10e9
_REST_BITS_PER_S = 1e6
#: Between two readings of what passed the classes.
READ_S = 1.0


@dataclass(frozen=True, slots=True)
class Following:
    """How a follower stands: what is in force, since how many transactions, why the last one failed, what passed.

    ``traffic`` is of each class, by name, between the last two readings, as :func:`.facts.class_facts` has it; empty
    before there are two, and where the queues cannot be read.
    """

    rates_bits_per_s: Mapping[str, float]
    applied: int
    failed: int
    problem: str
    traffic: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


def plan_of_rates(
    link: str, matches: Mapping[str, tuple[Match, ...]], rates_bits_per_s: Mapping[str, float]
) -> ShapingPlan:
    """A class for each name, with its rate as guarantee and as ceiling; what matches none is not held back.

    A rate below 8 kbit/s, the least that a class can have, counts as that; a name without a rate has none either.

    Raises:
        PlanError: the rates are more than 10 Gbit/s together, or a name or a match is wrong.
    """
    if REST in matches:
        raise PlanError("matches", REST, f"other names: {REST} is the class of all other traffic")
    classes = [
        TrafficClass(name, rate, rate, matches=of_name)
        for name, of_name in matches.items()
        for rate in (max(float(RATE_MIN), rates_bits_per_s.get(name, 0.0)),)
    ]
    plan = ShapingPlan(link, ClassTree(_TOTAL_BITS_PER_S, (*classes, TrafficClass(REST, _REST_BITS_PER_S)), REST))
    plan.validate()
    return plan


class RateFollower:
    """Applies the latest rates in a thread of its own; to be closed, which takes the shaping off again.

    ``follow`` never waits and never raises: a caller in a loop of milliseconds hands over its decision and goes on. A
    decision that comes while another is being applied replaces the one that waits. Rates that all are within
    ``significance`` of what is in force change nothing.
    """

    def __init__(
        self,
        link: str,
        matches: Mapping[str, tuple[Match, ...]],
        *,
        significance: float = 0.05,
        directory: str = DEFAULT_DIRECTORY,
        warn: Callable[[str], object] = lambda problem: None,
    ) -> None:
        """Start the thread; it works in the network namespace of the caller.

        Raises:
            PlanError: the link's name, a name or a match is wrong.
        """
        plan_of_rates(link, matches, {})
        self._link, self._matches, self._significance = link, dict(matches), significance
        self._directory, self._warn = directory, warn
        self._condition = threading.Condition()
        self._wanted: dict[str, float] | None = None
        self._following = Following({}, 0, 0, "")
        self._closing = False
        self._plan: ShapingPlan | None = None
        self._sensor, self._looked_at = QueueSensor(), -READ_S
        self._queues: Queues | None = None
        self._thread = threading.Thread(target=self._run, name=f"shaping of {link}", daemon=True)
        self._thread.start()

    @property
    def following(self) -> Following:
        """How it stands."""
        return self._following

    def follow(self, rates_bits_per_s: Mapping[str, float]) -> None:
        """These are the rates from now on, of the names that matches were given for."""
        rates = {name: float(rates_bits_per_s.get(name, 0.0)) for name in self._matches}
        with self._condition:
            if self._wanted is not None or self._differs(rates):
                self._wanted = rates
                self._condition.notify()

    def close(self) -> None:
        """Take the shaping off the link, and end."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _differs(self, rates: Mapping[str, float]) -> bool:
        known = self._following.rates_bits_per_s
        return any(
            name not in known or abs(rate - known[name]) > self._significance * max(rate, known[name])
            for name, rate in rates.items()
        )

    def _run(self) -> None:
        shaper: Shaper | None = None
        while not self._closing:
            rates = self._next()
            try:
                if rates is not None:
                    shaper = shaper or Shaper(self._directory)
                    self._apply(shaper, rates)
            except ShapingError as error:
                self._failed(str(error))
            self._look()
        if shaper is not None:
            try:
                shaper.clear(self._link)
            except ShapingError as error:
                self._failed(str(error))
            shaper.close()

    def _apply(self, shaper: Shaper, rates: dict[str, float]) -> None:
        plan = plan_of_rates(self._link, self._matches, rates)
        shaper.apply(plan)
        self._plan = plan
        before = self._following
        self._following = replace(before, rates_bits_per_s=rates, applied=before.applied + 1, problem="")

    def _next(self) -> dict[str, float] | None:
        """The rates to apply; None: it ends, or the queues are to be read."""
        with self._condition:
            if self._wanted is None and not self._closing:
                self._condition.wait(None if self._plan is None else READ_S)
            rates, self._wanted = self._wanted, None
            return None if self._closing else rates

    def _look(self) -> None:
        """Compare the queues with those of a period ago."""
        now = time.monotonic()
        if self._plan is None or now - self._looked_at < READ_S:
            return
        before, queues = self._queues, self._sensor.read()
        self._looked_at, self._queues = now, None if isinstance(queues, Missing) else queues
        traffic = class_facts(before, self._queues, self._plan) if before and self._queues else {}
        self._following = replace(self._following, traffic=traffic)

    def _failed(self, problem: str) -> None:
        before = self._following
        self._following = replace(before, failed=before.failed + 1, problem=problem)
        if problem != before.problem:
            self._warn(problem)

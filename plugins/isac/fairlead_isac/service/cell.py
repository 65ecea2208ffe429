"""An instance: engine, radio, requests, and what is told of them to clients, metrics and the resource graph."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..collaboration.letters import Letter
from ..errors import IsacError, NotFound, RadioUnavailable
from ..kpi.control import Control
from ..kpi.link import Link, link
from ..kpi.records import Period, indication
from ..requests.admission import Capacity, admit
from ..requests.request import Area, SensingRequest, requirements
from ..settings import Settings
from ..stages.decision import Decision
from .book import Book, Entry
from .counters import Counters
from .engine import Engine, Logged
from .estimate import Estimate
from .front import Front
from .loop import Loop
from .partners import Partners, Seat
from .queues import queues_of
from .tracks import tracks_of

PERIOD_S = 1.0
KEPT_PERIODS = 3600
#: Intervals by which the processor is judged.
LATELY = 20
#: A link is told again where it has changed by this share, and in any case after so long.
CHANGED, REPEAT_S = 0.05, 20.0
#: Rates are averaged over this: a link fact that follows fading would move workloads to and fro.
SMOOTH_S = 1.0


class Publisher(Protocol):
    """The part of a worker's context that takes facts."""

    @property
    def node(self) -> str: ...

    @property
    def instance(self) -> str: ...

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None: ...


class Cell:
    """The backend of the HTTP API.

    Args:
        settings: of the workload.
        front: the radio.
        publisher: takes facts; None: nobody does.
        samples_per_s: resource elements a second that are turned into estimates.
        warn: hears of what fails.
        clock: monotonic seconds.
        unix: Unix seconds.
        seat: which of the workload's cells this is; None: it is the only one.
    """

    def __init__(
        self,
        settings: Settings,
        front: Front,
        publisher: Publisher | None,
        samples_per_s: float,
        warn: Callable[..., object] = lambda event, **values: None,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        seat: Seat | None = None,
    ) -> None:
        self.settings, self._samples_per_s = settings, samples_per_s
        self._publisher, self._clock, self._unix = publisher, clock, unix
        self.book, self.counters = Book(), Counters()
        streams = np.random.SeedSequence(settings.radio.seed).spawn(2)
        self.partners: Partners | None = None
        if seat is not None and settings.stage == "collaborative":
            present = lambda: self.loop.radio.state != "lost"
            tracks = tracks_of(settings, seat.replica, len(front.centres))
            self.partners = Partners(seat, self.counters, self._note, warn, present, clock, tracks, unix)
        self.engine = Engine(settings, self.book, np.random.default_rng(streams[0]), self.partners)
        rng = np.random.default_rng(streams[1])
        self.loop = Loop(
            self.engine, front, self.book, self.counters, rng, self._settled, warn, clock, unix, self._refine
        )
        self.links: dict[str, Link] = {}
        self._queues = queues_of(settings, warn)
        self._told: dict[tuple[str, str], tuple[float, float]] = {}
        self._rates: dict[str, float] = {}
        self._rated_at: float | None = None
        self._rated_of = -1
        self._periods: deque[Period] = deque(maxlen=KEPT_PERIODS)
        self._period_began, self._before = clock(), dict[str, float]()

    @property
    def samples_per_s(self) -> float:
        """Resource elements a second that are turned into estimates: as configured, as seen lately, as at start."""
        lately = self.counters.quantile("element", 0.5, LATELY)
        if self.settings.samples_per_s is not None or not lately:
            return self._samples_per_s
        return 1 / lately

    def start(self) -> None:
        """Take the radio, decide and sense from now on."""
        self.loop.start()
        if self.partners is not None:
            self.partners.start()

    def close(self) -> None:
        """End all requests and give the radio back."""
        self.book.close("the service ends")
        if self.partners is not None:
            self.partners.close()
        self.loop.close()
        self._queues.close()

    # --- the API -----------------------------------------------------------------------------------------------

    def ask(self, request: SensingRequest) -> Entry:
        """Judge a request and serve it where it can be met.

        Raises:
            RadioUnavailable: the radio is not there.
            IsacError: a target that is not there.
        """
        if self.loop.radio.state == "lost":
            raise RadioUnavailable(f"the radio is lost: {self.loop.radio.reason}; it is tried again")
        needs, area = requirements(request), self._area(request)
        live = self.book.live()
        taken = sum(entry.looks.air_share for entry in live)
        busy = sum(entry.looks.processing_s / entry.looks.refresh_s for entry in live)
        left = self.engine.controls.sensing_share[1] - taken
        capacity = Capacity(self.engine.cell, left, self.samples_per_s, min(busy, 1.0))
        admission = admit(needs, area, capacity)
        self.counters.add("requests_admitted" if admission.met else "requests_refused")
        return self.book.add(request, needs, area, admission, self._clock())

    def cancel(self, name: str) -> Entry:
        """End a request."""
        return self.book.cancel(name)

    def control(self, control: Control) -> dict[str, Any]:
        """Set what is named; returns what is in force."""
        self.counters.add("controls")
        return dict(self.engine.control(control, self._unix()).body())

    def hear(self, letter: Letter) -> str:
        """Take another cell's letter; returns why it was dropped, empty: it was not.

        Raises:
            NotFound: this cell agrees with nobody.
        """
        if self.partners is None:
            stage = self.settings.stage or "chosen by the band's layer"
            raise NotFound(f"stage = {stage!r}: it agrees with nobody; accepted: one whose stage is collaborative")
        return self.partners.receive(letter)

    def refuse(self) -> None:
        """Count a letter that makes no sense."""
        self.counters.add("letters_refused")

    def status(self) -> dict[str, Any]:
        """How the cell stands."""
        decision, radio, counters = self.engine.decision, self.loop.radio, self.counters
        live = self.book.live()
        return {
            "cell": self.settings.cell.name,
            "radio": {"state": radio.state, "reason": radio.reason, "since_unix_s": radio.since_unix_s},
            "stage": None if decision is None else decision.stage,
            "duplex": None if decision is None else decision.duplex,
            "sensing_share": 0.0 if decision is None else decision.time_fraction_sensing,
            "looks_share": self.engine.sensing_share(),
            "rate_bits_per_s": dict(self._rates),
            "links": {
                name: {
                    "capacity_bits_per_s": each.capacity_bits_per_s,
                    "free_bits_per_s": each.free_bits_per_s,
                    "latency_s": each.latency_s,
                }
                for name, each in self.links.items()
            },
            "unmet": [] if decision is None else list(decision.unmet),
            "requests": [entry.id for entry in live],
            "decision_p50_s": counters.quantile("decision", 0.5),
            "decision_p99_s": counters.quantile("decision", 0.99),
            "decision_deadline_misses": counters.total("decision_deadline_misses"),
            "estimate_deadline_misses": counters.total("estimate_deadline_misses"),
            "fallbacks": counters.total("fallbacks"),
            "samples_per_s": self.samples_per_s,
            "control": self.engine.controls.body(),
            "shaping": self._queues.body(),
            "cells": None if self.partners is None else self.partners.body(),
        }

    def decisions(self, last: int, layer: str | None) -> list[dict[str, Any]]:
        """The latest decisions, newest last."""
        return [logged.body() for logged in self.engine.log.last(last, layer)]

    def records(self, last: int) -> dict[str, Any]:
        """Records of the latest periods."""
        return indication(list(self._periods)[-last:], self._sender(), self.settings.cell.name)

    def _area(self, request: SensingRequest) -> Area:
        if request.area is not None:
            return request.area
        target = next((each for each in self.settings.targets if each.name == request.target), None)
        if target is None:
            known = ", ".join(each.name for each in self.settings.targets) or "the workload names none"
            raise IsacError(f"target = {request.target!r}: no such target; accepted: {known}")
        return Area(
            angle_degrees=max(-80.0, min(80.0, target.angle_degrees)),
            range_m=target.range_m,
            speed_m_per_s=max(5.0, 2 * abs(target.velocity_m_per_s)),
            rcs_m2=target.rcs_m2,
        )

    def _refine(self, entry: Entry, estimate: Estimate) -> Estimate:
        return estimate if self.partners is None else self.partners.refine(entry, estimate)

    def _note(self, reason: str, fallback: str | None, decided: dict[str, Any]) -> None:
        self.engine.log.add(Logged(self._unix(), "cells", reason, fallback, decided))

    # --- what follows a decision -------------------------------------------------------------------------------

    def _settled(self) -> None:
        decision = self.engine.decision
        if decision is None:
            return
        self._rate(decision)
        self._queues.follow(self._rates)
        self._link(decision)
        self._tell()
        if self._clock() - self._period_began >= PERIOD_S:
            self._close_period(decision)

    def _rate(self, decision: Decision) -> None:
        now = self._clock()
        # What requests or controls change is no fading: it counts at once.
        anew, self._rated_of = self._rated_of != self.engine.renewals, self.engine.renewals
        step = 1.0 if anew or self._rated_at is None else min(1.0, (now - self._rated_at) / SMOOTH_S)
        self._rated_at = now
        there = self.loop.radio.state != "lost"
        for name, rate in decision.rate_bits_per_s.items():
            rate = rate if there else 0.0
            # What is gone is gone at once, and whom this cell takes over from another has nothing to be averaged with.
            known = self._rates.get(name) or rate
            self._rates[name] = known + step * (rate - known) if rate else 0.0

    def _link(self, decision: Decision) -> None:
        slot_s = self.engine.cell.numerology.slot_s
        self.links = {
            user.name: link(self._rates.get(user.name, 0.0), user.offered_bits_per_s, slot_s, self._silent(decision))
            for user in self.settings.users
        }

    def _silent(self, decision: Decision) -> float:
        return decision.time_fraction_sensing if self.loop.radio.state != "lost" else 0.0

    def _tell(self) -> None:
        """Links that have changed go into the resource graph, and so does how the instance stands."""
        if self._publisher is None:
            return
        for user in self.settings.users:
            if user.peer is not None:
                key, found = link_key(self._publisher.node, user.peer), self.links[user.name]
                self._fact(key, "bandwidth_bits_per_s", found.free_bits_per_s)
                self._fact(key, "latency_s", found.latency_s)
        for name, value in self._facts().items():
            self._fact(self._publisher.instance, name, value)

    def _facts(self) -> dict[str, float]:
        decision = self.engine.decision
        return {
            "sensing_share": 0.0 if decision is None else decision.time_fraction_sensing,
            "rate_bits_per_s": sum(self._rates.values()),
            "sensing_requests": float(len(self.book.live())),
            "radio_there": float(self.loop.there),
        }

    def _fact(self, vertex: str, attribute: str, value: float) -> None:
        assert self._publisher is not None
        known, at = self._told.get((vertex, attribute), (None, 0.0))
        moved = known is None or abs(value - known) > CHANGED * max(abs(known), abs(value))
        if moved or self._clock() - at > REPEAT_S:
            self._told[(vertex, attribute)] = (value, self._clock())
            self._publisher.publish_fact(vertex, attribute, value)

    def _close_period(self, decision: Decision) -> None:
        now, counters = self._clock(), self.counters
        length = now - self._period_began
        self._period_began = now
        p99 = counters.quantile("decision", 0.99, max(1, int(length / self.settings.slot_s)))
        misses = self._since("decision_deadline_misses") + self._since("estimate_deadline_misses")
        cell = {
            "SENS.AirTime": 100 * decision.time_fraction_sensing,
            "RRU.PrbTotDl": 100 * (1 - decision.time_fraction_sensing),
            "SCHED.DecisionLatencyP99": None if p99 is None else 1e6 * p99,
            "SCHED.DeadlineMisses": misses,
            "SCHED.Fallbacks": self._since("fallbacks"),
        }
        users = {name: _of_user(self._rates.get(name, 0.0), each, decision, name) for name, each in self.links.items()}
        requests = {entry.id: _of_request(entry, self._unix()) for entry in self.book.live()}
        targets = {name: _of_target(result) for name, result in decision.sensing.items()}
        self._periods.append(Period(self._unix() - length, length, cell, users, targets, requests))

    def _since(self, name: str) -> float:
        total = self.counters.total(name)
        before, self._before[name] = self._before.get(name, 0.0), total
        return total - before

    def _sender(self) -> str:
        return self._publisher.instance if self._publisher is not None else "isac"


def link_key(node: str, peer: str) -> str:
    """The key of a node's link in the resource graph; the gateway is the control plane."""
    return f"{node}>link>{'control-plane' if peer == 'gateway' else peer}"


def _of_user(rate: float, found: Link, decision: Decision, name: str) -> dict[str, float | None]:
    sinr = decision.sinr.get(name)
    return {
        "DRB.UEThpDl": rate / 1e3,
        "DRB.RlcSduDelayDl": found.latency_s * 1e4,
        "L1M.RS-SINR": None if not sinr else 10 * float(np.log10(sinr)),
    }


def _of_request(entry: Entry, now_unix_s: float) -> dict[str, float | None]:
    last = entry.estimates[-1] if entry.estimates else None
    return {"SENS.Age": None if last is None else 1e3 * (now_unix_s - last.measured_unix_s)}


def _of_target(result: Any) -> dict[str, float | None]:
    return {
        "SENS.RangeStd": None if result.range_std_m is None else 1e3 * result.range_std_m,
        "SENS.VelocityStd": None if result.velocity_std_m_per_s is None else 1e3 * result.velocity_std_m_per_s,
        "SENS.DetectionProbability": 100 * result.detection_probability,
    }

"""An instance: engine, radio, requests, and what is told of them to clients, metrics and the resource graph."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fairlead_agent.plugin import Peer

from ..collaboration.letters import Letter
from ..errors import IsacError, NotFound, RadioUnavailable
from ..kpi.control import Control
from ..kpi.link import Link, link
from ..requests.admission import Capacity, admit
from ..requests.request import Area, SensingRequest, requirements
from ..settings import Settings
from ..stages.decision import Decision
from ..stages.kpis import Kpis, kpis
from .book import Book, Entry
from .counters import Counters
from .engine import Engine, Logged
from .estimate import Estimate
from .facts import Facts, Publisher
from .front import Front
from .handing import Handing, Placed
from .loop import Loop
from .partners import Partners
from .periods import Periods
from .queues import queues_of
from .rates import Rates
from .seat import Seat
from .sight import area_of, in_sight
from .standing import standing
from .tracks import tracks_of

#: Intervals by which the processor is judged.
LATELY = 20


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
        self._facts, self._clock, self._unix = Facts(publisher, clock), clock, unix
        together = seat is not None and settings.stage == "collaborative"
        self.book = Book(settings.cell.name if together else None, self._ended)
        self.counters = Counters()
        streams = np.random.SeedSequence(settings.radio.seed).spawn(2)
        self.partners: Partners | None = None
        self.handing: Handing | None = None
        if seat is not None and together:
            present = lambda: self.loop.radio.state != "lost"
            tracks = tracks_of(settings, seat.replica, len(front.centres))
            self.partners = Partners(seat, self.counters, self._note, warn, present, clock, tracks, unix)
            if seat.settings_of is not None:
                note = lambda reason, decided: self.engine.log.add(Logged(unix(), "requests", reason, None, decided))
                self.handing = Handing(
                    settings.cell.name, seat.replica, seat.settings_of, self.partners, self._placed, note, unix
                )
        self.engine = Engine(settings, self.book, np.random.default_rng(streams[0]), self.partners)
        rng = np.random.default_rng(streams[1])
        self.loop = Loop(
            self.engine, front, self.book, self.counters, rng, self._settled, warn, clock, unix, self._refine
        )
        self.links: dict[str, Link] = {}
        self.queues = queues_of(settings, warn)
        self.rates = Rates(clock)
        self._periods = Periods(self.book, self.counters, settings.slot_s, clock, unix)

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
        self.queues.close()

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

    def place(self, request: SensingRequest) -> Placed:
        """Have a request sensed here or by the cell that does it best; as :meth:`ask` otherwise."""
        return self._placed(request) if self.handing is None else self.handing.place(request)

    def requests(self, here: bool) -> dict[str, Any]:
        """Requests of this cell, or of all cells, and which of those did not answer."""
        own = [entry.body() for entry in self.book.all()]
        if here or self.handing is None:
            return {"requests": own}
        others, silent = self.handing.known()
        return {"requests": [*own, *others], "silent": silent}

    def elsewhere(self, name: str) -> Peer | None:
        """The instance whose request it is; None: this one.

        Raises:
            NotFound: it is another cell's, which is not there.
        """
        return None if self.handing is None else self.handing.elsewhere(name)

    def _placed(self, request: SensingRequest) -> Placed:
        entry = self.ask(request)
        return Placed(entry.body(), entry.admission.met)

    def _ended(self, entry: Entry) -> None:
        """What was joined with a request that has ended ends, too; nobody waits for that."""
        if entry.request.joined and self.handing is not None:
            threading.Thread(target=self.handing.end, args=(entry.request.joined,), name="ending", daemon=True).start()

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
        return standing(self)

    def decisions(self, last: int, layer: str | None) -> list[dict[str, Any]]:
        """The latest decisions, newest last."""
        return [logged.body() for logged in self.engine.log.last(last, layer)]

    def records(self, last: int) -> dict[str, Any]:
        """Records of the latest periods."""
        return self._periods.records(last, self._facts.sender, self.settings.cell.name)

    def figures(self) -> Kpis | None:
        """Key figures of the decision in force; None: there is none yet."""
        decision, channels = self.engine.decision, self.engine.channels
        return None if decision is None or channels is None else kpis(decision, channels)

    def traffic(self) -> Mapping[str, Mapping[str, float]]:
        """What passed users' queues lately, by user and attribute; empty where nothing is shaped."""
        users = {user.name for user in self.settings.users}
        return {name: values for name, values in self.queues.traffic().items() if name in users}

    def _area(self, request: SensingRequest) -> Area:
        if request.area is not None:
            return in_sight(request.area)
        area = area_of(self.settings, request.target or "")
        if area is None:
            known = ", ".join(each.name for each in self.settings.targets) or "the workload names none"
            raise IsacError(f"target = {request.target!r}: no such target; accepted: {known}")
        return area

    def _refine(self, entry: Entry, estimate: Estimate) -> Estimate:
        return estimate if self.partners is None else self.partners.refine(entry, estimate)

    def _note(self, reason: str, fallback: str | None, decided: dict[str, Any]) -> None:
        self.engine.log.add(Logged(self._unix(), "cells", reason, fallback, decided))

    # --- what follows a decision -------------------------------------------------------------------------------

    def _settled(self) -> None:
        decision = self.engine.decision
        if decision is None:
            return
        self.rates.take(decision, self.engine.renewals, self.loop.radio.state != "lost")
        self.queues.follow(self.rates.by_user)
        traffic = self.traffic()
        self._link(decision, traffic)
        self._tell(decision, traffic)
        self._periods.take(decision, self.engine.channels, self.rates.by_user, self.links, traffic)

    def _link(self, decision: Decision, traffic: Mapping[str, Mapping[str, float]]) -> None:
        slot_s = self.engine.cell.numerology.slot_s
        silent = decision.time_fraction_sensing if self.loop.radio.state != "lost" else 0.0
        self.links = {
            user.name: link(
                self.rates.by_user.get(user.name, 0.0),
                user.offered_bits_per_s,
                slot_s,
                silent,
                traffic.get(user.name, {}).get("latency_s", 0.0),
            )
            for user in self.settings.users
            if user.direction == "down"
        }

    def _tell(self, decision: Decision, traffic: Mapping[str, Mapping[str, float]]) -> None:
        """Links that have changed go into the resource graph, and so does how the instance stands."""
        for user in (user for user in self.settings.users if user.name in self.links):
            self._facts.of_link(user, self.links[user.name], traffic.get(user.name, {}))
        cell, rate = self.engine.cell, sum(self.rates.by_user.values())
        self._facts.of_radio(
            cell.name,
            {
                "carrier_hz": cell.numerology.carrier_hz,
                "channel_hz": cell.numerology.bandwidth_hz,
                "bandwidth_bits_per_s": rate,
                "sensing_share": decision.time_fraction_sensing,
            },
        )
        self._facts.of_instance(
            {
                "sensing_share": decision.time_fraction_sensing,
                "rate_bits_per_s": rate,
                "sensing_requests": float(len(self.book.live())),
                "radio_there": float(self.loop.there),
            }
        )

"""Slot decisions: a stage over measured channels, within what requests and controls leave. Time is an argument."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import IsacError
from ..kpi.control import Control
from ..settings import Settings
from ..stages.catalogue import stage as make_stage
from ..stages.decision import Decision
from ..stages.protocol import Stage
from .book import Book, Entry
from .cell_state import Controls, Fading, budget_of, cell_of, frame_of, target_of, users_of

#: Looks carry no data in these; in the others, data's own waveform is what is looked with.
EXCLUSIVE = ("separated", "orthogonal")
DEFAULT_STAGE = "orthogonal"


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of the log of decisions."""

    at_unix_s: float
    layer: str
    reason: str
    fallback: str | None
    decided: dict[str, Any]

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Log:
    """The latest decisions of each layer: a fast one does not push out those of a slow one."""

    def __init__(self, kept: int) -> None:
        self._kept, self._lock = kept, threading.Lock()
        self._layers: dict[str, deque[Logged]] = {}

    def add(self, logged: Logged) -> None:
        """Take one."""
        with self._lock:
            self._layers.setdefault(logged.layer, deque(maxlen=self._kept)).append(logged)

    def last(self, count: int, layer: str | None = None) -> list[Logged]:
        """The latest of one layer or of all, newest last.

        Raises:
            IsacError: there is no such layer.
        """
        with self._lock:
            if layer is not None and layer not in self._layers:
                raise IsacError(f"layer = {layer!r}; accepted: {', '.join(self._layers) or 'none has decided yet'}")
            chosen = self._layers.values() if layer is None else [self._layers[layer]]
            found = sorted((each for lines in chosen for each in lines), key=lambda each: each.at_unix_s)
        return found[-count:]


class Engine:
    """Decides for one cell.

    Args:
        settings: of the workload.
        book: requests; those that are live are sensed.
        rng: draws the channels' fading.
    """

    def __init__(self, settings: Settings, book: Book, rng: np.random.Generator) -> None:
        self.settings, self.book = settings, book
        self.controls = Controls.of(settings)
        self.log = Log(settings.decisions_kept)
        self.decision: Decision | None = None
        self.entries: list[Entry] = []
        self._fading = Fading(settings, rng)
        self._lock = threading.RLock()
        self._seen = -1
        self._stage: Stage | None = None
        self.cell = cell_of(settings)

    def control(self, control: Control, now_unix_s: float) -> Controls:
        """Set what is named, from the next decision on.

        Raises:
            IsacError: a user that is not there.
        """
        known = self.controls.weights
        for name in control.weights:
            if name not in known:
                raise IsacError(f"weights.{name}: no such user; accepted: {', '.join(known) or 'there are no users'}")
        with self._lock:
            self.controls, self._seen = self.controls.with_(control), -1
            named = control.model_dump(exclude_unset=True)
        self.log.add(Logged(now_unix_s, "control", "set from outside", None, named))
        return self.controls

    def decide(self, now_unix_s: float) -> Decision:
        """Schedule until the next call. What cannot be met is named in the decision."""
        with self._lock:
            if self._stage is None or self._seen != self.book.version:
                self._renew(now_unix_s)
            assert self._stage is not None
            exclusive = self._stage.name in EXCLUSIVE
            channels = self._fading.channels(now_unix_s, self.entries, self.cell)
            self.decision = self._stage.decide(channels, budget_of(self.controls, self.entries, exclusive))
        self.log.add(_slot_line(now_unix_s, self.decision))
        return self.decision

    def sensing_share(self) -> float:
        """Air time that looks take, whether or not they carry data."""
        return sum(entry.looks.air_share for entry in self.book.live())

    def _renew(self, now_unix_s: float) -> None:
        """Users, targets, stage and frame as requests and controls have them now."""
        self._seen = self.book.version
        self.entries = self.book.live()
        frame_s = frame_of(self.entries)
        self.cell = cell_of(self.settings, frame_s)
        name = self.controls.stage or DEFAULT_STAGE
        targets = [target_of(entry, self.cell) for entry in self.entries]
        self._stage = make_stage(name, self.cell, users=users_of(self.settings, self.controls), targets=targets)
        budget = budget_of(self.controls, self.entries, name in EXCLUSIVE)
        low, high = budget.time_fraction_sensing
        asked = ", ".join(f"{entry.id} {entry.looks.air_share:.1%}" for entry in self.entries) or "nothing"
        reason = f"requests take {asked} of air time; {name} stage, {low:.1%} to {high:.1%} for sensing alone"
        what = {"stage": name, "frame_s": frame_s, "sensing_share": [low, high], "power_watts": budget.power_watts}
        self.log.add(Logged(now_unix_s, "cell", reason, None, what))


def _slot_line(now_unix_s: float, decision: Decision) -> Logged:
    what = {
        "stage": decision.stage,
        "duplex": decision.duplex,
        "time_fraction_sensing": decision.time_fraction_sensing,
        "rate_bits_per_s": decision.rate_bits_per_s,
        "unmet": [*decision.unmet, *(line for result in decision.sensing.values() for line in result.unmet)],
    }
    return Logged(now_unix_s, "slot", decision.reason, decision.fallback, what)

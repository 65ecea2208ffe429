"""Decisions of all layers over measured channels, within what requests and controls leave. Time is an argument."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import IsacError
from ..granularity.band import BandSetting
from ..granularity.hierarchy import Hierarchy
from ..granularity.layer import LayerDecision, TrackedTarget
from ..kpi.control import Control
from ..scenario import Channels, User
from ..settings import Settings
from ..stages.decision import Decision
from .book import Book, Entry
from .cell_state import Controls, Fading, cell_of, edge_of, frame_of, target_of, users_of
from .layers import StageLayer, Together, hierarchy, line_of, observation_of


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
        together: the other cells; None: there are none.
    """

    def __init__(
        self, settings: Settings, book: Book, rng: np.random.Generator, together: Together | None = None
    ) -> None:
        self.settings, self.book, self.together = settings, book, together
        self.controls = Controls.of(settings)
        self.log = Log(settings.decisions_kept)
        self.decision: Decision | None = None
        self.channels: Channels | None = None
        """Under which the last slot was decided."""
        self.entries: list[Entry] = []
        self.renewals = 0
        """How often requests or controls have had all layers decide anew."""
        self.shed: dict[str, str] = {}
        """Requests that are not served for now, and why."""
        self.cell = cell_of(settings)
        self._fading = Fading(settings, rng)
        self._lock = threading.RLock()
        self._seen, self._now = -1, 0.0
        self._layers: Hierarchy | None = None
        self._users: tuple[User, ...] = ()
        self._tracked: tuple[TrackedTarget, ...] = ()

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
        """Let all layers decide that are due; the slot's decision holds until the next call.

        Raises:
            IsacError: there is no decision yet, and none can be made.
        """
        with self._lock:
            if self._layers is None or self._seen != self.book.version:
                self._renew()
            assert self._layers is not None
            # The wall clock may be set back; layers go on then.
            self._now = max(self._now, now_unix_s)
            channels = self._fading.channels(self._now, self.entries, self.cell)
            self.channels = channels
            rates = self._average(channels.user_names)
            seen = observation_of(self.cell, self._users, channels, self._tracked, rates)
            for decided in self._layers.step(self._now, seen):
                self._note(decided)
        if self.decision is None:
            raise IsacError("no slot was decided yet; see the log of decisions")
        return self.decision

    def sensing_share(self) -> float:
        """Air time that looks take, whether or not they carry data."""
        return sum(entry.looks.air_share for entry in self.book.live() if entry.id not in self.shed)

    def _note(self, decided: LayerDecision) -> None:
        if isinstance(decided.setting, Decision):
            self.decision = decided.setting
            fallback = decided.fallback or decided.setting.fallback
        else:
            fallback = decided.fallback
        if isinstance(decided.setting, BandSetting):
            self._shed(decided.setting.shed)
        self.log.add(Logged(decided.at_s, decided.layer, decided.reason, fallback, line_of(decided)))

    def _shed(self, shed: Mapping[str, str]) -> None:
        """Requests that the band's layer leaves out are not served for now, and say so."""
        for entry in self.entries:
            if entry.id in shed:
                self.book.degrade(entry, f"not sensed now: {shed[entry.id]}")
            elif entry.id in self.shed:
                self.book.degrade(entry, "")
        self.shed = dict(shed)

    def _average(self, names: tuple[str, ...]) -> np.ndarray:
        rates = {} if self.decision is None else self.decision.rate_bits_per_s
        return np.array([rates.get(name, 0.0) for name in names])

    def _renew(self) -> None:
        """Users, targets, stage and frame as requests and controls have them now: all layers decide anew."""
        self._seen, controls = self.book.version, self.controls
        self.renewals += 1
        self.entries = self.book.live()
        self.cell = cell_of(self.settings, frame_of(self.entries))
        self._users = users_of(self.settings, controls)
        targets = {entry.id: target_of(entry, self.cell) for entry in self.entries}
        shares = {entry.id: entry.looks.air_share for entry in self.entries}
        self._tracked = tuple(
            TrackedTarget(targets[entry.id], entry.requirements.velocity_resolution_m_per_s, entry.area.speed_m_per_s)
            for entry in self.entries
        )
        slots = StageLayer(
            self.cell, self._users, targets, shares, self.settings.slot_s, self.together, edge_of(self.settings)
        )
        self._layers = hierarchy(
            slots, controls.sensing_share, controls.stage, controls.power_watts, controls.duplex, self.together
        )

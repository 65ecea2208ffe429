"""Joules per token, where the device counts energy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from fairlead_bridge.device_energy import EnergyReading, device_energy_between_joules
from fairlead_bridge.reading import Missing

#: Reading counters takes up to a millisecond, and they are renewed about as often: windows are longer than both.
WINDOW_S = 0.25


class EnergySensor(Protocol):
    """What reads the device's energy; `fairlead_bridge.device_energy.DeviceEnergySensor` does."""

    def read(self) -> EnergyReading | Missing:
        """Look once."""
        ...


class Progress(Protocol):
    """The counters of an engine that tell prompts from answers: tokens, and seconds of computing."""

    prompt_tokens: int
    decode_tokens: int
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class _Mark:
    """Counters as they stood when a window opened."""

    reading: EnergyReading | Missing
    prompt_tokens: int
    decode_tokens: int
    prefill_s: float
    decode_s: float

    @classmethod
    def of(cls, reading: EnergyReading | Missing, told: Progress) -> _Mark:
        return cls(reading, told.prompt_tokens, told.decode_tokens, told.prefill_s, told.decode_s)


@dataclass(slots=True)
class EnergyAccount:
    """Adds up windows in which the engine computed.

    A window's joules are those of the whole device (processor packages with their memory, or the battery), other
    processes and idle power included: nothing tells them apart. They are given to prompts and answers in proportion to
    the time that each took in the window. A window whose energy is not certain is left out, tokens and all, so that
    joules / tokens stays true.

    Attributes:
        joules, tokens: by phase, "prefill" and "decode"; the tokens are those of the windows whose joules are known.
        source: where the last known window's energy came from, or "".
        reason: why the last window's energy is not known, or "".
    """

    sensor: EnergySensor
    joules: dict[str, float] = field(default_factory=lambda: {"prefill": 0.0, "decode": 0.0})
    tokens: dict[str, int] = field(default_factory=lambda: {"prefill": 0, "decode": 0})
    source: str = ""
    reason: str = ""
    _opened: _Mark | None = None
    _opened_s: float = 0.0

    def begin(self, told: Progress, now_s: float) -> None:
        """Open a window, where none is open, before the engine computes."""
        if self._opened is None:
            self._open(self.sensor.read(), told, now_s)

    def end(self, told: Progress, now_s: float, *, idle: bool) -> None:
        """After the engine computed: close a window that is long enough, or the last one before the engine rests."""
        if self._opened is None or not (idle or now_s - self._opened_s >= WINDOW_S):
            return
        reading = self.sensor.read()
        self._close(self._opened, _Mark.of(reading, told))
        self._opened = None
        if not idle:
            self._open(reading, told, now_s)

    def _open(self, reading: EnergyReading | Missing, told: Progress, now_s: float) -> None:
        self._opened, self._opened_s = _Mark.of(reading, told), now_s

    def _close(self, before: _Mark, after: _Mark) -> None:
        used = _joules(before.reading, after.reading)
        if isinstance(used, Missing):
            self.reason = str(used)
            return
        spent = {"prefill": after.prefill_s - before.prefill_s, "decode": after.decode_s - before.decode_s}
        all_s = sum(spent.values())
        if all_s <= 0:
            return
        for phase, spent_s in spent.items():
            self.joules[phase] += used * spent_s / all_s
        self.tokens["prefill"] += after.prompt_tokens - before.prompt_tokens
        self.tokens["decode"] += after.decode_tokens - before.decode_tokens
        self.reason = ""
        if not isinstance(after.reading, Missing):
            self.source = after.reading.source


def _joules(before: EnergyReading | Missing, after: EnergyReading | Missing) -> float | Missing:
    if isinstance(before, Missing):
        return before
    return after if isinstance(after, Missing) else device_energy_between_joules(before, after)

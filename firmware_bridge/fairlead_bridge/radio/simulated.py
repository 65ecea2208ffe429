"""A radio without hardware: what it sends comes back from a scene, sample by sample, from a seed; needs numpy.

Time is counted in samples and nothing waits for a clock, unless ``wait_until`` is given. So a run can be replayed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fairlead_bridge.radio import propagation
from fairlead_bridge.radio.propagation import Complex, echo, white
from fairlead_bridge.radio.radio import RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.radio.samples import by_antenna, by_radio, checked_count
from fairlead_bridge.radio.scene import Dropout, Scene

_LONGEST_WAY_S = 100e-6


class SimulatedRadio:
    """Sends into a scene and receives what comes back of it; a ``Radio``.

    What is received at a sample is the sum of all echoes of what was sent before, of what leaks from the transmitter,
    and of thermal noise. Where nothing is queued to be sent, nothing is sent. ``scene`` may be exchanged at any time.
    While the scene's ``dropouts`` last, or after ``unplug``, every call takes the whole timeout of the radio's time and
    raises ``RadioLost``; what was queued is gone then.
    """

    def __init__(
        self,
        configuration: RadioConfiguration,
        scene: Scene | None = None,
        *,
        seed: int = 0,
        longest_way_s: float = _LONGEST_WAY_S,
        wait_until: Callable[[float], None] | None = None,
    ) -> None:
        """Start at time 0. Echoes from beyond ``longest_way_s`` there and back are not heard."""
        self.configuration = configuration
        self.underruns = 0
        self._lock = threading.RLock()
        self._rng = np.random.default_rng(seed)
        self._wait_until = wait_until
        self._kept = math.ceil(longest_way_s * configuration.sample_rate_hz) + propagation.TAPS
        self._received = 0
        self._sent = np.zeros((configuration.transmit_antennas, 0), np.complex128)
        self._sent_from = 0
        self._closed = self._unplugged = self._sending = False
        # From each transmit antenna to each receive antenna: unit gains with phases that stay.
        shape = (configuration.receive_antennas, configuration.transmit_antennas)
        self._leak = np.exp(2j * np.pi * np.random.default_rng([seed, 1]).random(shape))
        self.scene = scene or Scene()

    @property
    def time_s(self) -> float:
        """The radio's time: of the next sample that will be received."""
        return self._received / self.configuration.sample_rate_hz

    @property
    def scene(self) -> Scene:
        """What is around the radio, with its targets where they were when it was set."""
        return self._scene

    @scene.setter
    def scene(self, scene: Scene) -> None:
        with self._lock:
            self._scene, self._scene_from_s = scene, self.time_s
            self._moving = tuple(item for item in (*scene.targets, *scene.clutter) if item.moves)
            still = [item for item in (*scene.targets, *scene.clutter) if not item.moves]
            self._still = propagation.still_response(still, self.configuration) if still else None

    def transmit(self, samples: object) -> None:
        """Queue samples, complex [samples] or [antennas, samples]; see ``Radio``."""
        checked = by_antenna(samples, self.configuration.transmit_antennas)
        with self._lock:
            self._check_there()
            end = self._sent_from + self._sent.shape[1]
            if end < self._received:
                self.underruns += self._sending
                silence = np.zeros((len(checked), self._received - end), np.complex128)
                self._sent = np.concatenate([self._sent, silence], axis=1)
            self._sent = np.concatenate([self._sent, checked], axis=1)
            self._sending = True

    def receive(self, count: int) -> Complex:
        """The next samples, complex [samples] or [antennas, samples]; see ``Radio``."""
        count = checked_count(count)
        with self._lock:
            self._check_there()
            received = self._noise(count)
            received += self._echoes(count) * 10 ** (self._scene.antenna_gain_db / 10)
            received += self._self_interference(count)
            if self._scene.converter is not None:
                received = propagation.converted(received, self._scene.converter)
            self._advance(count)
        if self._wait_until is not None:
            self._wait_until(self.time_s)
        return by_radio(received)

    def unplug(self) -> None:
        """The radio disappears, until ``plug``."""
        self._unplugged = True

    def plug(self) -> None:
        """The radio is there again."""
        self._unplugged = False

    def close(self) -> None:
        """Nothing is sent or received any more."""
        self._closed = True

    def _check_there(self) -> None:
        if self._closed:
            raise RadioError("the radio is closed; accepted: a radio that is open")
        if not self._unplugged and not self._scene.lost_at(self.time_s):
            return
        start_s, timeout_s = self.time_s, self.configuration.timeout_s
        self._sent = self._sent[:, :0]
        self._sent_from = self._received
        self._sending = False
        self._advance(max(1, round(timeout_s * self.configuration.sample_rate_hz)))
        if self._wait_until is not None:
            self._wait_until(self.time_s)
        raise RadioLost(f"no answer from the simulated radio within {timeout_s:g} s at {start_s:.6f} s of its time")

    def _advance(self, count: int) -> None:
        self._received += count
        surplus = self._received - self._kept - self._sent_from
        if surplus > 0:
            self._sent = self._sent[:, surplus:]
            self._sent_from += surplus

    def _history(self, first: int, count: int) -> Complex:
        found = np.zeros((len(self._sent), count), np.complex128)
        low = max(first, self._sent_from)
        high = min(first + count, self._sent_from + self._sent.shape[1])
        if low < high:
            found[:, low - first : high - first] = self._sent[:, low - self._sent_from : high - self._sent_from]
        return found

    def _echoes(self, count: int) -> Complex:
        found = np.zeros((self.configuration.receive_antennas, count), np.complex128)
        if self._still is not None:
            found += propagation.filtered(self._history, self._received, count, *self._still)
        for target in self._moving:
            since_s = -self._scene_from_s
            found += echo(self._history, self._received, count, target, since_s, self.configuration)
        return found

    def _noise(self, count: int) -> Complex:
        scene, radio = self._scene, self.configuration
        power = propagation.noise_power_watts(radio.sample_rate_hz, scene.noise_figure_db, scene.temperature_kelvin)
        return white((radio.receive_antennas, count), self._rng) * math.sqrt(power)

    def _self_interference(self, count: int) -> Complex | float:
        leak, radio = self._scene.self_interference, self.configuration
        if leak is None:
            return 0.0
        sent = propagation.delayed(self._history, self._received, count, leak.delay_s * radio.sample_rate_hz)
        amplitude = 10 ** (-leak.suppression_db / 20)
        if leak.kind == "white":
            power = np.sum(np.abs(sent) ** 2, axis=0)
            return amplitude * np.sqrt(power) * white((radio.receive_antennas, count), self._rng)
        return amplitude * self._leak @ sent


class RealTime:
    """Makes a simulated radio as slow as a real one: ``SimulatedRadio(..., wait_until=RealTime())``.

    A computation that takes longer than the samples last cannot be waited for; ``late_s`` is how far it fell behind.
    """

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self.late_s = 0.0

    def __call__(self, radio_time_s: float) -> None:
        ahead_s = self._start_s + radio_time_s - time.monotonic()
        self.late_s = max(0.0, -ahead_s)
        if ahead_s > 0:
            time.sleep(ahead_s)


def with_dropout(scene: Scene, start_s: float, end_s: float) -> Scene:
    """A scene with one more time in which the radio is gone."""
    return replace(scene, dropouts=(*scene.dropouts, Dropout(start_s, end_s)))

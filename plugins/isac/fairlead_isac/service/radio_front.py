"""Looks over a radio of the firmware bridge: OFDM samples out, samples in, and back to the grid.

A look is sent as two equal periods, the first of which is the other's cyclic prefix. Where more periods are added up,
the receiver's sum has as much more energy against one period's noise: it is sent as that much more amplitude.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from fairlead_bridge.radio.radio import RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.radio.scene import Scene, Target, ground_clutter
from fairlead_bridge.radio.simulated import SimulatedRadio

from ..errors import RadioUnavailable
from ..physics.numerology import Numerology
from ..requests.admission import Looks
from ..requests.request import Area
from ..scenario import Cell
from ..settings import Settings
from ..settings import Target as TargetSettings
from .beams import channel_centres, folded_angle, send_gain
from .front import Complex, Float

#: A target turns where it is so much nearer or farther than where it began.
ROAM = 0.25


class SimulatedFront:
    """A simulated radio with beams, in virtual time: it computes looks as fast as it can, gaps between them at once.

    The radio itself sends from one antenna. What the array's beams do to each target is put into its cross section, and
    receiving channels are parts of the array.

    Args:
        settings: of the workload: targets, clutter, noise, absences.
        cell: antennas and power.
        clock: seconds; targets move with it, and absences count from the first use.
    """

    def __init__(self, settings: Settings, cell: Cell, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._cell, self._clock = settings, cell, clock
        self._channels = settings.radio.channels
        self._began = clock()
        self._radio: SimulatedRadio | None = None
        self._clutter = ground_clutter(settings.radio.clutter, settings.radio.seed)
        self._noise = np.random.SeedSequence(settings.radio.seed)

    @property
    def centres(self) -> Float:
        """Phase centres of the channels, [channels] in wavelengths."""
        return channel_centres(self._cell.antennas, self._channels)

    def open(self) -> None:
        """Take the radio; raises ``RadioUnavailable`` while it is absent."""
        self._absent()

    def close(self) -> None:
        """Give it back."""
        if self._radio is not None:
            self._radio.close()
            self._radio = None

    def look(self, sent: Complex, numerology: Numerology, looks: Looks, area: Area) -> Complex:
        """Send looks and receive them; see ``Front``."""
        self._absent()
        size = 1 << (numerology.subcarriers * 5 // 4 - 1).bit_length()
        radio = self._radio_at(size * numerology.subcarrier_spacing_hz)
        bins = (np.arange(numerology.subcarriers) - numerology.subcarriers // 2) % size
        spectrum = np.zeros((numerology.symbols, size), np.complex128)
        spectrum[:, bins] = sent.T
        watts = self._cell.power_watts * looks.periods / numerology.subcarriers * size
        periods = np.fft.ifft(spectrum, norm="ortho") * math.sqrt(watts)
        heard = np.empty((self._channels, numerology.symbols, size), np.complex128)
        began = self._clock() - self._began
        try:
            for number, period in enumerate(periods):
                radio.scene = self._scene(began + number * looks.spacing_s, area)
                heard[:, number] = _second(radio, period)
        except (RadioLost, RadioError) as error:
            self._radio = None
            raise RadioUnavailable(str(error)) from None
        return np.fft.fft(heard, norm="ortho")[..., bins].transpose(0, 2, 1)

    def _radio_at(self, rate_hz: float) -> SimulatedRadio:
        known = self._radio
        if known is not None and math.isclose(known.configuration.sample_rate_hz, rate_hz):
            return known
        configuration = RadioConfiguration(
            self._cell.numerology.carrier_hz,
            rate_hz,
            receive_antennas=self._channels,
            timeout_s=self._settings.radio.timeout_s,
        )
        seed = int(self._noise.spawn(1)[0].generate_state(1)[0])
        self._radio = SimulatedRadio(configuration, seed=seed, longest_way_s=20e-6)
        return self._radio

    def _scene(self, t: float, area: Area) -> Scene:
        toward = math.radians(area.angle_degrees)
        moving = tuple(
            self._seen(each.name, *_place(each, t), math.radians(each.angle_degrees), each.rcs_m2, toward)
            for each in self._settings.targets
        )
        still = tuple(
            self._seen(each.name, each.range_m, 0.0, each.angle_rad, each.cross_section_m2, toward)
            for each in self._clutter
        )
        # What is left of the own signal is white, and in the cell's noise figure: it does not add up over periods.
        return Scene(moving, still, noise_figure_db=self._cell.noise_figure_db)

    def _seen(self, name: str, range_m: float, velocity: float, angle: float, rcs_m2: float, toward: float) -> Target:
        """A target as one sending and ``channels`` receiving antennas see it behind the beams; positive: away."""
        part = self._cell.antennas // self._channels
        gain = send_gain(self._cell.antennas, toward, angle) * send_gain(part, toward, angle)
        folded = folded_angle(self._cell.antennas, self._channels, angle)
        return Target(name, range_m, -velocity, rcs_m2 * gain, folded)

    def _absent(self) -> None:
        t = self._clock() - self._began
        absence = next((each for each in self._settings.radio.absences if each.begin_s <= t < each.end_s), None)
        if absence is not None:
            timeout = self._settings.radio.timeout_s
            raise RadioUnavailable(f"no answer from the simulated radio within {timeout:g} s (absent from the config)")


def _second(radio: SimulatedRadio, period: Complex) -> Complex:
    """Send a period twice; what is received of the second, [channels, samples]."""
    radio.transmit(np.concatenate((period, period)))
    received = radio.receive(2 * len(period))
    return np.atleast_2d(received)[:, len(period) :]


def _place(target: TargetSettings, t: float) -> tuple[float, float]:
    """Range in m and velocity in m/s (positive: away) of a target that goes to and fro."""
    reach = ROAM * target.range_m
    way = target.velocity_m_per_s * t + reach
    legs, rest = divmod(way, 2 * reach)
    out = int(legs) % 2 == 0
    offset = rest - reach if out else reach - rest
    return target.range_m + offset, target.velocity_m_per_s if out else -target.velocity_m_per_s

"""Sensing over many slots: what a target needs of its looks in a refresh interval, and what the looks have given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fairlead_isac.granularity.layer import TrackedTarget
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.channel import noise_power_watts, radar_gain
from fairlead_isac.physics.crb import MEANINGFUL_DB, angle_variance, information
from fairlead_isac.physics.detection import required_snr
from fairlead_isac.physics.numerology import SPEED_OF_LIGHT
from fairlead_isac.scenario import Cell, Target

#: Where a target's need names no refresh.
REFRESH_S = 0.1
#: Probability of a false alarm for each tested cell, where the need names none.
FALSE_ALARM = 1e-6


@dataclass(frozen=True, slots=True)
class LookNeeds:
    """What the looks of one refresh interval must come to. A look is one OFDM symbol towards the target.

    Attributes:
        energy: integrated SNR, linear: of detection, range, angle, and of the region in which bounds mean something.
        extent_s: from the first look to the last: lambda / 2 dv for the velocity's resolution.
        largest_gap_s: between two looks: lambda / 4 v, so that a velocity within what the track knows is unambiguous.
        doppler_information: 1 / variance of the Doppler shift, in s^2; 0: none is asked for.
        refresh_s: length of the interval.
        binding: which of the needs asks for most energy.
    """

    energy: float
    extent_s: float
    largest_gap_s: float
    doppler_information: float
    refresh_s: float
    binding: str

    @property
    def groups(self) -> int:
        """The least number of times at which the target must be looked at."""
        return 1 + (math.ceil(self.extent_s / self.largest_gap_s - 1e-9) if self.extent_s else 0)


@lru_cache(maxsize=1024)
def symbol_snr(target: Target, cell: Cell) -> float:
    """Integrated SNR of one look, linear: all power beamed to the target, all antennas added up."""
    numerology = cell.numerology
    gain = float(radar_gain(target.range_m, numerology.carrier_hz, target.reflectivity))
    noise = noise_power_watts(numerology.bandwidth_hz, cell.noise_figure_db)
    return cell.power_watts * cell.antennas * cell.echo_antennas * gain * numerology.subcarriers / noise


def needs_of(tracked: TrackedTarget, cell: Cell) -> LookNeeds:
    """Return what a target's requirements come to over one refresh interval.

    Bounds are for even power over the band; looks at both ends of the interval and evenly between.
    """
    required, wavelength = tracked.target.required, cell.numerology.wavelength_m
    energies = {"threshold": 10 ** (MEANINGFUL_DB / 10), **_energies(tracked.target, cell)}
    binding = max(energies, key=lambda name: energies[name])
    resolution = tracked.velocity_resolution_m_per_s
    refresh = required.refresh_s or REFRESH_S
    extent = 0.0 if resolution is None else wavelength / (2.0 * resolution)
    velocity = required.velocity_std_m_per_s
    doppler = 0.0 if velocity is None else (wavelength / 2.0 / velocity) ** 2
    gap = wavelength / (4.0 * tracked.velocity_prior_m_per_s)
    if doppler > 0.0:
        extent = max(extent, _extent_for(doppler, energies[binding], refresh))
    return LookNeeds(energies[binding], extent, gap, doppler, refresh, binding)


def _extent_for(doppler: float, energy: float, refresh: float) -> float:
    """Even looks of that energy have information 2 (2 pi)^2 E extent^2 / 12 about the Doppler shift."""
    return min(math.sqrt(12.0 * doppler / (8.0 * math.pi**2 * energy)), refresh)


def _energies(target: Target, cell: Cell) -> dict[str, float]:
    """Integrated SNR that each requirement asks for."""
    required, found = target.required, {}
    if required.range_std_m is not None:
        found["range"] = _delay_variance(cell) * (SPEED_OF_LIGHT / 2.0 / required.range_std_m) ** 2
    if required.angle_std_rad is not None:
        found["angle"] = (
            _angle_variance(cell.antennas, cell.echo_antennas, target.angle_rad) / required.angle_std_rad**2
        )
    if required.detection_probability is not None:
        found["detection"] = _detection_snr(required.detection_probability, required.false_alarm or FALSE_ALARM)
    return found


@lru_cache(maxsize=256)
def _detection_snr(probability: float, false_alarm: float) -> float:
    return required_snr(probability, false_alarm)


@lru_cache(maxsize=64)
def _delay_variance(cell: Cell) -> float:
    """In s^2, for an integrated SNR of 1."""
    frequencies = cell.numerology.frequencies_hz
    return 1.0 / information(np.full(len(frequencies), 1.0 / len(frequencies)), frequencies)


@lru_cache(maxsize=4096)
def _unit_angle_variance(antennas: int, echo_antennas: int, tenths: int) -> float:
    """In rad^2, for an integrated SNR of 1 and a beam at the target; ``tenths`` of a degree."""
    angle = math.radians(tenths / 10.0)
    beam = steering(angle, antennas) / antennas
    # |a^H w|^2 = 1 on each receiving antenna, of which there are some: their sum is the SNR.
    return angle_variance(np.outer(beam, beam.conj()), angle, 1.0 / echo_antennas, 1.0, 1, echo_antennas)


def _angle_variance(antennas: int, echo_antennas: int, angle: float) -> float:
    # Near the array's end there is no information about the angle: a degree off it stands for that.
    tenths = round(max(-890.0, min(890.0, 10.0 * math.degrees(angle))))
    return _unit_angle_variance(antennas, echo_antennas, tenths)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a refresh interval's looks came to.

    Attributes:
        target: its name.
        begin_s: of the interval.
        met: all needs.
        energy_share: of the needed integrated SNR.
        extent_s, largest_gap_s: of the looks.
        symbols: that were spent.
        missed: which needs are not met.
    """

    target: str
    begin_s: float
    met: bool
    energy_share: float
    extent_s: float
    largest_gap_s: float
    symbols: int
    missed: tuple[str, ...]


class LookBook:
    """The looks of all targets in the refresh intervals that run.

    Args:
        slot_s: looks of one slot count as one time.
    """

    def __init__(self, slot_s: float) -> None:
        self.slot_s = slot_s
        self._looks: dict[str, list[tuple[float, float, int]]] = {}
        self._begun: dict[str, tuple[int, LookNeeds]] = {}

    def looked(self) -> dict[str, int]:
        """Symbols in the running interval, by target."""
        return {name: sum(each[2] for each in looks) for name, looks in self._looks.items()}

    def knows(self, name: str) -> bool:
        """Whether an interval of the target runs."""
        return name in self._begun

    def energy(self, name: str) -> float:
        """Integrated SNR of the running interval."""
        return sum(each[1] for each in self._looks.get(name, ()))

    def begin(self, t: float, name: str, needs: LookNeeds) -> Verdict | None:
        """Go on to time ``t``; the verdict on the interval before, where one has ended. Needs are of its begin."""
        number = math.floor(t / needs.refresh_s + 1e-6)
        before = self._begun.get(name)
        if before is not None and before[0] == number:
            return None
        verdict = None if before is None else self._judge(name, before[0] * before[1].refresh_s, before[1])
        self._begun[name], self._looks[name] = (number, needs), []
        return verdict

    def add(self, t: float, name: str, snr: float, symbols: int) -> None:
        """Note ``symbols`` looks in the slot at ``t`` with ``snr`` each."""
        if symbols:
            self._looks[name].append((t, snr * symbols, symbols))

    def _judge(self, name: str, begin: float, needs: LookNeeds) -> Verdict:
        looks = np.array(self._looks[name]).reshape(-1, 3)
        times, energy = looks[:, 0], float(looks[:, 1].sum())
        extent = float(times[-1] - times[0]) if len(times) else 0.0
        gap = float(np.diff(times).max(initial=0.0))
        missed = []
        if energy < needs.energy * (1.0 - 1e-9):
            missed.append(needs.binding)
        if extent + 1.5 * self.slot_s < needs.extent_s:
            missed.append("velocity resolution")
        if needs.extent_s and gap > needs.largest_gap_s + 1.5 * self.slot_s:
            missed.append("velocity ambiguity")
        if needs.doppler_information > information(looks[:, 1], times) * (1.0 + 1e-9):
            missed.append("velocity")
        return Verdict(
            name,
            begin,
            not missed,
            energy / needs.energy,
            extent,
            gap,
            int(looks[:, 2].sum()),
            tuple(missed),
        )

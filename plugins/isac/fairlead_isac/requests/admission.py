"""Admission: which requirements of a sensing request a radio can meet, with which air time, and why not the others.

Pure, from bounds. A request is served by ``symbols`` looks, ``spacing_s`` apart, sent towards the area. A look is one
OFDM symbol, sent ``repeats`` times, of which every ``comb``-th subcarrier is lit: it consists of ``repeats * comb``
equal periods. The first one is the cyclic prefix of the others, which the receiver adds up coherently before anything
else. What a request costs is air time: ``symbols * repeats * symbol_s`` in each refresh.

- velocity resolution ``lambda / 2T`` fixes the interval T = symbols * spacing_s;
- the fastest target fixes the spacing: ``|v| < lambda / (4 spacing_s)``;
- the farthest target fixes the comb: ``R < c / (2 comb df)``;
- accuracy and detection fix the energy, hence the repeats: bounds hold only where they mean something (25 dB).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..physics.arrays import steering
from ..physics.channel import noise_power_watts, radar_gain
from ..physics.crb import MEANINGFUL_DB, angle_variance, range_variance, velocity_variance
from ..physics.detection import required_snr
from ..physics.numerology import SPEED_OF_LIGHT, Numerology
from ..scenario import Cell
from .request import PLANE_95, SCALAR_95, Area, Requirements

#: Bounds hold for the best estimator; ours meet them within a tenth (variance) where they mean something.
LOSS = 1.1
MOST_SYMBOLS = 256
#: Of lit subcarriers, sparsest first; echoes from this much farther than the area are told right, too.
COMBS, FARTHER = (8, 4, 2, 1), 1.1


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a radio has left for one more request.

    Attributes:
        cell: antennas, power, noise figure and the numerology whose subcarriers and spacing are used.
        share: of air time that sensing may still take, 0 to 1.
        samples_per_s: resource elements a second that the processor turns into estimates, one request at a time.
        busy: share of the processor's time that other requests take.
    """

    cell: Cell
    share: float
    samples_per_s: float = math.inf
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Looks:
    """How a request is served.

    Attributes:
        symbols: looks that are processed coherently.
        spacing_s: from one look to the next.
        comb: every so many subcarriers are lit.
        repeats: of each look's symbol.
        refresh_s: from one interval's estimate to the next one's.
        air_share: share of air time.
        processing_s: of an interval, predicted.
    """

    symbols: int
    spacing_s: float
    comb: int
    repeats: int
    refresh_s: float
    air_share: float
    processing_s: float

    @property
    def interval_s(self) -> float:
        """Length of the coherent interval."""
        return self.symbols * self.spacing_s

    @property
    def periods(self) -> int:
        """Of a look, that are added up."""
        return self.repeats * self.comb - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """One requirement: what was asked, what can be had, and whether that does."""

    requirement: str
    asked: float
    offered: float | None
    met: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a request."""

    met: bool
    verdicts: tuple[Verdict, ...]
    looks: Looks | None
    integrated_snr_db: float

    def reasons(self) -> tuple[str, ...]:
        """Why it is refused; empty where it is met."""
        return tuple(verdict.reason for verdict in self.verdicts if not verdict.met)


def admit(needs: Requirements, area: Area, capacity: Capacity) -> Admission:
    """Judge a request.

    Args:
        needs: upper bounds; accuracies hold at 95 %.
        area: where the target may be at worst.
        capacity: what is left for it.
    """
    looks = _looks(needs, area, capacity)
    repeats = _repeats(needs, area, capacity, looks)
    most = max(1, int(looks.spacing_s / capacity.cell.numerology.symbol_s + 1e-9))
    served = _served(looks, min(repeats, most), capacity)
    verdicts = (
        *_geometry(needs, area, capacity.cell),
        *_accuracy(needs, area, capacity.cell, served),
        *_timing(needs, served, capacity),
        _air(served, repeats, most, capacity),
    )
    met = all(verdict.met for verdict in verdicts)
    snr = integrated_snr(area, capacity.cell, served)
    return Admission(met, verdicts, served if met else None, 10 * math.log10(max(snr, 1e-30)))


def look_numerology(cell: Cell, looks: Looks) -> Numerology:
    """The grid that a request's looks make: lit subcarriers, and symbols as far apart as the looks are."""
    numerology = cell.numerology
    spacing_hz = numerology.subcarrier_spacing_hz * looks.comb
    return replace(
        numerology,
        subcarriers=numerology.subcarriers // looks.comb,
        subcarrier_spacing_hz=spacing_hz,
        symbols=looks.symbols,
        cyclic_prefix_s=max(0.0, looks.spacing_s - 1 / spacing_hz),
    )


def element_snr(area: Area, cell: Cell, looks: Looks) -> float:
    """SNR of a lit subcarrier of one look, linear: all power beamed to the area, all antennas and periods added up."""
    grid = look_numerology(cell, looks)
    gain = float(radar_gain(area.range_m, grid.carrier_hz, area.rcs_m2))
    sent = cell.power_watts * cell.antennas / grid.subcarriers
    noise = noise_power_watts(grid.subcarrier_spacing_hz, cell.noise_figure_db)
    return sent * gain * cell.echo_antennas * looks.periods / noise


def integrated_snr(area: Area, cell: Cell, looks: Looks) -> float:
    """SNR of the peak of the range-Doppler map, linear."""
    grid = look_numerology(cell, looks)
    return element_snr(area, cell, looks) * grid.subcarriers * grid.symbols


def accuracies(area: Area, cell: Cell, looks: Looks) -> tuple[float, float, float]:
    """Standard deviations by the Cramer-Rao bounds: range in m, across in m, velocity in m/s."""
    snr, numerology = element_snr(area, cell, looks), look_numerology(cell, looks)
    velocity = velocity_variance(snr, numerology) if looks.symbols > 1 else math.inf
    return (
        math.sqrt(LOSS * range_variance(snr, numerology)),
        math.sqrt(LOSS * _angle_variance(area, cell, looks)) * area.range_m,
        math.sqrt(LOSS * velocity),
    )


def _angle_variance(area: Area, cell: Cell, looks: Looks) -> float:
    grid, angle = look_numerology(cell, looks), math.radians(area.angle_degrees)
    beam = steering(angle, cell.antennas) * math.sqrt(cell.power_watts / grid.subcarriers / cell.antennas)
    gain = float(radar_gain(area.range_m, grid.carrier_hz, area.rcs_m2))
    noise = noise_power_watts(grid.subcarrier_spacing_hz, cell.noise_figure_db)
    snapshots = grid.subcarriers * looks.symbols * looks.periods
    return angle_variance(np.outer(beam, beam.conj()), angle, gain, noise, snapshots, cell.echo_antennas)


def _looks(needs: Requirements, area: Area, capacity: Capacity) -> Looks:
    """Spacing by the fastest target, as many looks as the velocity's resolution asks for."""
    numerology = capacity.cell.numerology
    spacing = max(numerology.symbol_s, numerology.wavelength_m / (4 * area.speed_m_per_s))
    # A whole number of symbols, so that looks fit the frame.
    spacing = math.floor(spacing / numerology.symbol_s + 1e-9) * numerology.symbol_s
    wanted = needs.velocity_resolution_m_per_s or area.speed_m_per_s / 8
    symbols = max(2, math.ceil(numerology.wavelength_m / (2 * wanted) / spacing))
    comb = next((each for each in COMBS if area.range_m * FARTHER <= numerology.unambiguous_range_m / each), 1)
    # Two symbols where one has no period to spare for the prefix.
    return Looks(min(MOST_SYMBOLS, symbols), spacing, comb, 2 if comb == 1 else 1, needs.refresh_s, 0.0, 0.0)


def _repeats(needs: Requirements, area: Area, capacity: Capacity, looks: Looks) -> int:
    """The least energy, in repeats of all looks, with which accuracy and detection are met."""
    cell, gate = capacity.cell, 10 ** (MEANINGFUL_DB / 10)
    once = integrated_snr(area, cell, looks)
    wanted = [gate / once, _detection_snr(needs, cell, looks) / once]
    along, across, velocity = accuracies(area, cell, looks)
    if needs.horizontal_m is not None:
        wanted.append((PLANE_95 * math.hypot(along, across) / needs.horizontal_m) ** 2)
    if needs.velocity_m_per_s is not None:
        wanted.append((SCALAR_95 * velocity / needs.velocity_m_per_s) ** 2)
    periods = max(wanted) * looks.periods
    return max(looks.repeats, math.ceil((periods + 1) / looks.comb)) if periods < 1e9 else 10**9


def _detection_snr(needs: Requirements, cell: Cell, looks: Looks) -> float:
    if needs.missed_detection is None:
        return 0.0
    # A false alarm anywhere in the map counts once for the whole estimate.
    cells = look_numerology(cell, looks).subcarriers * looks.symbols
    return required_snr(1 - needs.missed_detection, (needs.false_alarm or 0.05) / cells)


def _served(looks: Looks, repeats: int, capacity: Capacity) -> Looks:
    numerology = capacity.cell.numerology
    air = looks.symbols * repeats * numerology.symbol_s / max(looks.refresh_s, looks.interval_s)
    elements = numerology.subcarriers // looks.comb * looks.symbols
    return replace(looks, repeats=repeats, air_share=air, processing_s=elements / capacity.samples_per_s)


def _geometry(needs: Requirements, area: Area, cell: Cell) -> tuple[Verdict, ...]:
    """What no air time changes: the band, the array, the spacing of subcarriers."""
    found: list[Verdict] = []
    numerology = cell.numerology
    farthest = numerology.unambiguous_range_m
    reason = (
        f"range: told modulo {farthest:.4g} m with subcarriers {numerology.subcarrier_spacing_hz / 1e3:g} kHz apart"
    )
    found.append(_verdict("range_m", farthest, area.range_m, reason))
    if needs.range_resolution_m is not None:
        offered, asked = numerology.range_resolution_m, needs.range_resolution_m
        band = SPEED_OF_LIGHT / (2 * asked)
        reason = (
            f"range resolution: {offered:.3g} m over {numerology.bandwidth_hz / 1e6:.3g} MHz, {asked:.3g} m asked for: "
            f"{band / 1e6:.4g} MHz would do"
        )
        found.append(_verdict("range_resolution_m", asked, offered, reason))
    if needs.vertical_m is not None:
        reason = "height: a linear array measures in its plane only; ask without vertical_m"
        found.append(Verdict("vertical_m", needs.vertical_m, None, False, reason))
    return tuple(found)


def _accuracy(needs: Requirements, area: Area, cell: Cell, looks: Looks) -> tuple[Verdict, ...]:
    found: list[Verdict] = []
    snr = integrated_snr(area, cell, looks)
    decibels = 10 * math.log10(max(snr, 1e-30))
    gated = decibels < MEANINGFUL_DB - 1e-9
    along, across, velocity = accuracies(area, cell, looks)
    at = f"{area.range_m:.4g} m, {area.rcs_m2:.3g} m^2, {decibels:.1f} dB with all air time that its looks can take"
    if needs.velocity_resolution_m_per_s is not None:
        asked = needs.velocity_resolution_m_per_s
        offered = cell.numerology.wavelength_m / (2 * looks.interval_s)
        reason = f"velocity resolution: {offered:.3g} m/s in {looks.interval_s:.3g} s, {asked:.3g} m/s asked for"
        found.append(_verdict("velocity_resolution_m_per_s", asked, offered, reason))
    for name, asked, offered in (
        ("horizontal_m", needs.horizontal_m, PLANE_95 * math.hypot(along, across)),
        ("velocity_m_per_s", needs.velocity_m_per_s, SCALAR_95 * velocity),
    ):
        if asked is not None:
            why = f"{at}: below {MEANINGFUL_DB:.0f} dB no accuracy can be told" if gated else f"{offered:.3g} at {at}"
            reason = f"{name}: {why}; {asked:.3g} asked for"
            found.append(Verdict(name, asked, None if gated else offered, not gated and _fits(offered, asked), reason))
    if needs.missed_detection is not None:
        wanted = _detection_snr(needs, cell, looks)
        reason = f"detection: {10 * math.log10(wanted):.1f} dB needed; {at}"
        met = _fits(wanted, snr)
        found.append(Verdict("missed_detection", needs.missed_detection, None, met, "" if met else reason))
    return tuple(replace(verdict, reason="") if verdict.met else verdict for verdict in found)


def _timing(needs: Requirements, looks: Looks, capacity: Capacity) -> tuple[Verdict, ...]:
    processing, asked = looks.processing_s / max(1e-9, 1 - capacity.busy), needs.refresh_s
    slow = (
        f"refresh: an interval takes {processing:.3g} s of the processor ({looks.symbols} looks); one each {asked:.3g} "
        "s asked for"
    )
    refresh = _verdict("refresh_s", asked, max(asked, processing), slow)
    if needs.latency_s is None:
        return (refresh,)
    reason = (
        f"latency: {looks.interval_s:.3g} s of looks and {processing:.3g} s of processing; {needs.latency_s:.3g} s "
        "asked for"
    )
    return (refresh, _verdict("latency_s", needs.latency_s, looks.interval_s + processing, reason))


def _air(looks: Looks, repeats: int, most: int, capacity: Capacity) -> Verdict:
    """Air time: not more than there is in an interval, and not more than is left."""
    wanted = looks.air_share if repeats <= most else looks.air_share * repeats / looks.repeats
    met = repeats <= most and _fits(wanted, capacity.share)
    reason = f"air time: {wanted:.1%} needed, {max(0.0, capacity.share):.1%} left for sensing"
    return Verdict("air_share", wanted, max(0.0, capacity.share), met, "" if met else reason)


def _verdict(name: str, asked: float, offered: float | None, reason: str) -> Verdict:
    met = offered is not None and _fits(offered, asked)
    return Verdict(name, asked, offered, met, "" if met else reason)


def _fits(value: float, bound: float) -> bool:
    return value <= bound * (1 + 1e-9)

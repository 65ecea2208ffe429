"""From looks to detections: send, receive, estimate by maximum likelihood. The radio is the caller's; no clock here."""

from __future__ import annotations

import math

import numpy as np

from ..physics.angle_estimator import golden_section
from ..physics.arrays import half_power_width
from ..physics.echo import response
from ..physics.estimators import Estimate as Found
from ..physics.estimators import estimate
from ..physics.numerology import SPEED_OF_LIGHT, Numerology
from ..physics.waveform import random_grid
from ..requests.admission import Looks, look_numerology
from ..requests.request import Area
from ..scenario import Cell
from .book import Entry
from .estimate import Detection
from .front import Complex, Float, Front

#: Objects that are sought in one interval, and how often noise may be taken for one where nothing is asked.
MOST_OBJECTS, FALSE_ALARM = 4, 0.01
QAM = 4


def sense(front: Front, entry: Entry, cell: Cell, rng: np.random.Generator) -> tuple[Detection, ...]:
    """One interval of a request; see :func:`observe`."""
    return observe(front, entry.looks, entry.area, cell, entry.requirements.false_alarm or FALSE_ALARM, rng)


def look_elements(cell: Cell, looks: Looks) -> int:
    """Resource elements of an interval."""
    return cell.numerology.subcarriers // looks.comb * looks.symbols


def observe(
    front: Front, looks: Looks, area: Area, cell: Cell, false_alarm: float, rng: np.random.Generator
) -> tuple[Detection, ...]:
    """Send looks, receive them, and estimate what is there, strongest first, where it was in the interval's middle.

    Args:
        front: the radio.
        looks: of the interval.
        area: towards which they go.
        cell: its antennas and band.
        false_alarm: probability that noise is taken for one more object.
        rng: draws the data that the looks carry.

    Raises:
        RadioUnavailable: the radio is gone.
    """
    numerology = look_numerology(cell, looks)
    sent = random_grid(numerology, QAM, rng)
    received = front.look(sent, numerology, looks, area)
    toward, width = math.radians(area.angle_degrees), half_power_width(cell.antennas)
    phases = _phases(front.centres, math.sin(toward))
    beamed = np.tensordot(phases.conj(), received, axes=1) / math.sqrt(len(received))
    stays = migration(estimate(beamed, sent, numerology, padding=1)[0], numerology)
    found = estimate(beamed * stays, sent, numerology, most=MOST_OBJECTS, false_alarm=false_alarm, padding=1)
    sines = [
        _sine(each, received, sent * stays.conj(), numerology, front.centres, math.sin(toward), width) for each in found
    ]
    return tuple(_detection(each, sine, numerology) for each, sine in zip(found, sines, strict=True))


def migration(strongest: Found, numerology: Numerology) -> Complex:
    """Phases [N, M] that keep a moving object in its range cell: ``exp(2 pi j (f_n - B/2) 2 v (t_m - T/2) / c)``.

    Without them, what moves by more than a range cell in an interval is smeared, and splits into several (Richards
    2014, 3.8). They are exact for one velocity: the strongest object's.
    """
    velocity = -strongest.velocity_m_per_s
    middle = numerology.times_s - numerology.times_s.mean()
    frequencies = numerology.frequencies_hz - numerology.frequencies_hz.mean()
    return np.exp(4j * np.pi * velocity / SPEED_OF_LIGHT * np.outer(frequencies, middle))


def _sine(
    each: Found,
    received: Complex,
    sent: Complex,
    numerology: Numerology,
    centres: Float,
    toward: float,
    width: float,
) -> float:
    """Sine of an object's angle: maximum likelihood over the channels, within the beam."""
    if len(centres) < 2:
        return toward
    matched = (sent * response([each.reflector], numerology)).conj()
    heard = np.tensordot(received, matched, axes=2)
    return golden_section(lambda at: abs(np.vdot(_phases(centres, at), heard)), toward - width, toward + width, 1e-7)


def _detection(each: Found, sine: float, numerology: Numerology) -> Detection:
    along = math.sqrt(each.delay_variance) * SPEED_OF_LIGHT / 2
    speed = math.sqrt(each.doppler_variance) * numerology.wavelength_m / 2
    return Detection(
        range_m=each.range_m,
        # What approaches has a positive Doppler shift; here, positive is away.
        velocity_m_per_s=-each.velocity_m_per_s,
        angle_degrees=math.degrees(math.asin(max(-1.0, min(1.0, sine)))),
        snr_db=10 * math.log10(max(each.integrated_snr, 1e-30)),
        range_std_m=None if each.gated else along,
        velocity_std_m_per_s=None if each.gated else speed,
    )


def _phases(centres: Float, sine: float) -> Complex:
    return np.exp(2j * np.pi * centres * sine)

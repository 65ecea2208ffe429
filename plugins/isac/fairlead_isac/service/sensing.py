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
from ..requests.admission import look_numerology
from ..scenario import Cell
from .book import Entry
from .estimate import Detection
from .front import Complex, Float, Front

#: Objects that are sought in one interval, and how often noise may be taken for one where nothing is asked.
MOST_OBJECTS, FALSE_ALARM = 4, 0.01
QAM = 4


def sense(front: Front, entry: Entry, cell: Cell, rng: np.random.Generator) -> tuple[Detection, ...]:
    """One interval of a request: objects that were found, strongest first.

    Raises:
        RadioUnavailable: the radio is gone.
    """
    numerology = look_numerology(cell, entry.looks)
    sent = random_grid(numerology, QAM, rng)
    received = front.look(sent, numerology, entry.looks, entry.area)
    toward, width = math.radians(entry.area.angle_degrees), half_power_width(cell.antennas)
    phases = _phases(front.centres, math.sin(toward))
    beamed = np.tensordot(phases.conj(), received, axes=1) / math.sqrt(len(received))
    false_alarm = entry.requirements.false_alarm or FALSE_ALARM
    found = estimate(beamed, sent, numerology, most=MOST_OBJECTS, false_alarm=false_alarm, padding=1)
    sines = [_sine(each, received, sent, numerology, front.centres, math.sin(toward), width) for each in found]
    return tuple(_detection(each, sine, numerology) for each, sine in zip(found, sines, strict=True))


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

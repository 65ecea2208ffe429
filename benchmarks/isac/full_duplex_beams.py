"""Joint beams and receivers in full duplex: without a convex solver, and by semidefinite programs, on the same draws.

8 + 8 antennas, 2 users each way, SINR of 10 dB down, clutter 20 dB above the target at three angles, white residual
10 dB above the noise or of rank 3, uplink SINR slack (10 dB) or tight (25 dB).
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np

from fairlead_isac.duplex.fast import full_duplex
from fairlead_isac.duplex.problem import FullDuplexProblem
from fairlead_isac.duplex.reference import full_duplex_reference
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.channel import rayleigh

ANTENNAS, USERS, CLUTTER = 8, 2, np.array([-0.7, -0.2, 0.9])
SLACK, TIGHT = 10.0, 10**2.5


@dataclass(frozen=True, slots=True)
class Pair:
    """Echo SINR in dB and seconds of both."""

    fast_db: float
    reference_db: float
    fast_s: float
    reference_s: float
    met: bool


def compare(seed: int, sinr_up: float, *, narrow: bool = False) -> Pair:
    """Both on one draw, each from its own start."""
    asked = _problem(seed, sinr_up, narrow)
    full_duplex(asked, turns=0)
    began = time.perf_counter()
    fast = full_duplex(asked)
    between = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        slow = full_duplex_reference(asked)
    ended = time.perf_counter()
    met = fast.fallback is None and slow.fallback is None
    decibels = 10 * np.log10([fast.echo_sinr, slow.echo_sinr])
    return Pair(float(decibels[0]), float(decibels[1]), between - began, ended - between, met)


def _problem(seed: int, sinr_up: float, narrow: bool) -> FullDuplexProblem:
    rng = np.random.default_rng(seed)
    residual = rayleigh(3, ANTENNAS, rng).T
    clutter = steering(CLUTTER, ANTENNAS)
    return FullDuplexProblem(
        channels=rayleigh(USERS, ANTENNAS, rng) * 10**-4.2,
        sinr_down=np.full(USERS, 10.0),
        noise_watts=1e-12,
        uplink=rayleigh(USERS, ANTENNAS, rng) * 10**-4.2,
        sent_watts=np.full(USERS, 0.1),
        sinr_up=np.full(USERS, sinr_up),
        sending=steering(0.3, ANTENNAS),
        hearing=steering(0.3, ANTENNAS),
        gain=1e-12,
        clutter_sending=clutter,
        clutter_hearing=clutter,
        clutter_gains=np.full(len(CLUTTER), 1e-10),
        echo_noise_watts=1e-12,
        power_watts=1.0,
        cancellation_db=110.0,
        residual=residual / np.linalg.norm(residual) if narrow else None,
    )

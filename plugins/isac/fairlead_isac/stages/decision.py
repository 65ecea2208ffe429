"""What a stage decides: dwells inside a frame, and what users and targets get of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fairlead_isac.scenario import ComplexArray, Duplex, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Dwell:
    """One share of a frame in which the beams stay the same.

    Args:
        fraction: its share of the frame's time, 0 to 1.
        beamformers: complex [streams, N] in sqrt(W), each on the whole band; with ``blocks``, complex [RB, N] with unit
            norm, one for each resource block.
        stream_users: the user of each stream, None for one that only illuminates; with ``blocks``, the users that
            ``power_watts`` has rows for.
        target: whom this dwell was shaped for, None: nobody.
        power_watts: float [users, RB]; None where streams use the whole band.
        blocks: int [RB], the row of the user that has most of a block, -1: nobody's.
        share: float [users, RB], the share of the dwell's time in which a block is a user's.
    """

    fraction: float
    beamformers: ComplexArray
    stream_users: tuple[str | None, ...]
    target: str | None = None
    power_watts: FloatArray | None = None
    blocks: np.ndarray | None = None
    share: FloatArray | None = None

    def covariance(self) -> ComplexArray:
        """Complex [N, N] in W, over the whole band: ``sum_i w_i w_i^H``, so that ``a^H R a`` is the illumination."""
        beams = self.beamformers
        if self.power_watts is not None:
            beams = beams * np.sqrt(self.power_watts.sum(axis=0))[:, None]
        return beams.T @ beams.conj()


@dataclass(frozen=True, slots=True)
class SensingResult:
    """What one target gets. None: cannot be said, for want of signal (``gated``) or of resources.

    ``gated`` is True where the integrated SNR is below the region in which estimators meet the Cramer-Rao bound: the
    standard deviations are not given then, for they would be far too good.
    """

    range_std_m: float | None
    velocity_std_m_per_s: float | None
    angle_std_rad: float | None
    detection_probability: float
    false_alarm: float
    illumination_watts: float
    integrated_snr: float
    gated: bool
    unmet: tuple[str, ...] = ()
    """The requirements that are missed, one line each; empty: all are met."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One frame's schedule of one cell."""

    stage: str
    duplex: Duplex
    power_watts: float
    dwells: tuple[Dwell, ...]
    covariance: ComplexArray
    """Complex [N, N] in W, averaged over the time in which the cell sends."""
    time_fraction_sensing: float
    """Share of time that carries no data because it is for sensing alone."""
    rate_bits_per_s: dict[str, float]
    sinr: dict[str, float]
    """Linear, averaged over the time (and blocks) that carry a user's data."""
    sensing: dict[str, SensingResult]
    unmet: tuple[str, ...] = ()
    """Users' needs that are missed, one line each."""
    fallback: str | None = None
    """Why this is not the optimum that was asked for; None: it is."""
    reason: str = ""
    gap: float = 0.0
    """Relative gap to the bound on the optimum, as the solver proved it."""
    solver_s: float | None = None
    """Time that the decision took, filled in by who measured it."""
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def beamformers(self) -> ComplexArray:
        """The beams of the longest dwell; complex [0, N] where nothing is sent."""
        if not self.dwells:
            return np.zeros((0, self.covariance.shape[0]), dtype=np.complex128)
        return max(self.dwells, key=lambda dwell: dwell.fraction).beamformers

    @property
    def blocks(self) -> np.ndarray | None:
        """The user of each resource block in the longest dwell that has blocks; None where none has."""
        having = [dwell for dwell in self.dwells if dwell.blocks is not None]
        return max(having, key=lambda dwell: dwell.fraction).blocks if having else None

    @property
    def block_power_watts(self) -> FloatArray | None:
        """The power on each resource block in that dwell, float [RB]."""
        having = [d for d in self.dwells if d.power_watts is not None]
        if not having:
            return None
        power = max(having, key=lambda dwell: dwell.fraction).power_watts
        assert power is not None
        return power.sum(axis=0)

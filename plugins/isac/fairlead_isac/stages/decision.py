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
        beamformers: complex [streams, N] in sqrt(W), each on the whole band; with ``power_watts``, complex
            [streams, RB, N] with unit norm, one for each resource block.
        stream_users: the user of each stream, None for one that only illuminates.
        target: whom this dwell was shaped for, None: nobody.
        power_watts: float [streams, RB], averaged over the dwell; None where streams use the whole band.
        share: float [streams, RB], the share of the dwell's time in which a block is a stream's; None: all of it.
        data_band: share of the band that carries data.
        sensing_band: share of the band that illuminates. Where both together are at most 1, data and illumination have
            a band of their own each and do not disturb each other.
        echo_of_data: whether echoes of users' streams are used for sensing, too.
    """

    fraction: float
    beamformers: ComplexArray
    stream_users: tuple[str | None, ...]
    target: str | None = None
    power_watts: FloatArray | None = None
    share: FloatArray | None = None
    data_band: float = 1.0
    sensing_band: float = 1.0
    echo_of_data: bool = True

    @property
    def disjoint(self) -> bool:
        """Data and illumination have a band of their own each."""
        return self.data_band + self.sensing_band <= 1

    @property
    def beams(self) -> ComplexArray:
        """Complex [streams * blocks, N] in sqrt(W), power and direction together."""
        if self.power_watts is None:
            return self.beamformers
        scaled = self.beamformers * np.sqrt(self.power_watts)[..., None]
        return scaled.reshape(-1, scaled.shape[-1])

    @property
    def silent(self) -> bool:
        """No stream carries data."""
        return all(user is None for user in self.stream_users)

    @property
    def owners(self) -> np.ndarray | None:
        """The stream that has most of each block, int [RB], -1: nobody's; None where streams use the whole band."""
        if self.power_watts is None:
            return None
        share = (self.power_watts > 0) if self.share is None else self.share * (self.power_watts > 0)
        return np.where(share.any(axis=0), np.argmax(share, axis=0), -1)

    @property
    def sent_watts(self) -> float:
        """Power of all streams together."""
        return float(np.vdot(self.beams, self.beams).real)

    def covariance(self) -> ComplexArray:
        """Complex [N, N] in W, over the whole band: ``sum_i w_i w_i^H``, so that ``a^H R a`` is the illumination."""
        return self.beams.T @ self.beams.conj()


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
        """The stream of each resource block in the longest dwell that has blocks, int [RB]; None where none has."""
        longest = self._longest_of_blocks()
        return None if longest is None else longest.owners

    @property
    def block_power_watts(self) -> FloatArray | None:
        """The power on each resource block in that dwell, float [RB]."""
        longest = self._longest_of_blocks()
        if longest is None or longest.power_watts is None:
            return None
        return longest.power_watts.sum(axis=0)

    def _longest_of_blocks(self) -> Dwell | None:
        having = [dwell for dwell in self.dwells if dwell.power_watts is not None]
        return max(having, key=lambda dwell: dwell.fraction, default=None)

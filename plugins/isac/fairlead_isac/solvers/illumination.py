"""Beams that illuminate a target as much as the users' SINR allow: a slot's decision in the converged stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_kernels import radio
from fairlead_kernels.radio import Beams

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Illumination:
    """Beams and what they reach.

    Attributes:
        beamformers: complex [users, antennas]; the covariance is ``sum_k w_k w_k^H`` plus the sensing beam's.
        sensing_beam: complex [antennas], a stream without data: zero unless no user has a requirement. It could not
            help otherwise (its dual constraint follows from the users').
        illumination_watts: ``a^H R a``, in the units of ``|a|^2`` times watts.
        duals: [users], illumination that a watt more of noise at that user would cost.
        power_price: illumination that a watt more of power would bring.
        gap: what the optimum can have more at most, as a share of it (from the dual); infinite in a max-min fallback.
        reached: the share of their SINR that all users have; 1 where the requirements are met.
        iterations: small linear systems that were solved.
        fallback: why this is not the optimum that was asked for; None where it is.
    """

    beamformers: Complex
    sensing_beam: Complex
    illumination_watts: float
    duals: Floats
    power_price: float
    gap: float
    reached: float
    iterations: int
    fallback: str | None

    @property
    def covariance(self) -> Complex:
        """The transmitted covariance R, complex [antennas, antennas], watts."""
        sensing = np.outer(self.sensing_beam, self.sensing_beam.conj())
        return self.beamformers.T @ self.beamformers.conj() + sensing


def illuminate(
    channels: Any,
    steering: Any,
    sinr: Any,
    power_watts: float,
    noise_watts: float,
    *,
    most_iterations: int = 400,
) -> Illumination:
    """Maximise ``a^H R a`` subject to ``SINR_k >= sinr[k]`` and ``tr R <= power_watts``: the exact optimum.

    Where the SINR cannot be met together, all users get the same largest share of theirs (the max-min point) and
    ``fallback`` says which; a user whose channel is zero gets nothing and the others are served. Where iterations run
    out, the best point so far is returned, which meets all requirements. No channel raises; bad arguments do.

    Args:
        channels: complex [users, antennas]; user k receives ``h_k^H x``.
        steering: complex [antennas], towards the target.
        sinr: [users], linear; 0: this user has no requirement and gets no beam.
        power_watts: of all beams.
        noise_watts: at each user.
        most_iterations: bounds the time (``deadline.Pace`` says how many fit one).

    Raises:
        IsacError: a shape that does not fit, a number that is not finite, a power or noise that is not above zero.
    """
    try:
        beams = radio.illuminate(channels, steering, sinr, power_watts, noise_watts, most_iterations=most_iterations)
    except radio.RadioError as error:
        raise IsacError(str(error)) from None
    gap = (beams.bound - beams.illumination) / beams.bound if 0 < beams.bound < np.inf else 0.0
    return Illumination(
        beams.beamformers,
        beams.sensing,
        beams.illumination,
        beams.duals,
        beams.price,
        max(gap, 0.0) if beams.bound < np.inf else np.inf,
        beams.reached,
        beams.iterations,
        None if beams.status == radio.SOLVED else _fallback(beams, channels, sinr, gap),
    )


def _fallback(beams: Beams, channels: Any, sinr: Any, gap: float) -> str:
    if beams.status == radio.STOPPED:
        return f"stopped after {beams.iterations} iterations: all SINR are met, at most {gap:.1e} below the optimum"
    deaf = np.flatnonzero((np.asarray(sinr) > 0) & ~np.asarray(channels).any(1))
    if deaf.size:
        return f"infeasible: user {deaf[0]} has a channel of zeros; the others are served"
    return f"infeasible: the power reaches {beams.reached:.3g} of each user's SINR at most (the max-min point)"

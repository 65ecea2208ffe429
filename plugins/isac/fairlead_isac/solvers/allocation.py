"""Resource blocks, users and power of a slot, with a bound on how well a delay can be estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_kernels import radio
from fairlead_kernels.radio import Blocks

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Allocation:
    """Powers of resource blocks and what they reach.

    Attributes:
        power: [users, blocks] watts; of a block that users share, averaged over its time.
        shares: [users, blocks] of each block's time; columns sum to one.
        user_of_block: [blocks], who has the block (the larger part of it); -1 where there is no user.
        rate_bits: [users], bits for each use of all blocks (bit/s: times a block's bandwidth).
        delay_information: what the powers reach.
        centre: of the powers, as the positions are given.
        duals: (bits that a watt more brings, bits that a unit of required information less brings).
        gap: what the optimum can have more at most, as a share of it (from the dual); infinite in an infeasible demand.
        iterations: Newton steps.
        shared_blocks: how many blocks users share in time (they tie there).
        fallback: why this is not the optimum that was asked for; None where it is.
    """

    power: Floats
    shares: Floats
    user_of_block: NDArray[np.int64]
    rate_bits: Floats
    delay_information: float
    centre: float
    duals: tuple[float, float]
    gap: float
    iterations: int
    shared_blocks: int
    fallback: str | None

    @property
    def power_of_block(self) -> Floats:
        """Watts on each block, [blocks]."""
        return self.power.sum(0)


def allocate(
    gains: Any,
    weights: Any,
    power_watts: float,
    delay_information: float = 0.0,
    positions: Any = None,
    sensing_gains: Any = None,
    *,
    most_iterations: int = 150,
) -> Allocation:
    """Maximise ``sum_u weights_u rate_u`` subject to the power and ``J >= delay_information``: the convex optimum.

    ``J = sum_n s_n p_n (x_n - c)^2`` with the centre c weighted by ``s_n p_n``. With ``x_n = 2 pi f_n`` (rad/s) and
    ``s_n = 2 snr`` (of a watt on block n at the sensing receiver, all its resource elements summed), J is the Fisher
    information of the delay in 1/s^2: ``physics.crb.delay_variance`` is its inverse.

    Where no powers reach the information, all power goes to the two blocks that tell most and ``fallback`` says how
    much that reaches. Without users all power goes there, too. No channel raises; bad arguments do.

    Args:
        gains: [users, blocks], SNR of a user for a watt on the block; zero where it hears nothing.
        weights: [users] (``proportional_fair_weights``, prices).
        power_watts: of all blocks together.
        delay_information: the least J; 0: none is asked for.
        positions: [blocks]; None: 0, 1, 2, ...
        sensing_gains: [blocks]; None: 1 each.
        most_iterations: bounds the time (``deadline.Pace`` says how many fit one).

    Raises:
        IsacError: a shape that does not fit, no block, a number that is not finite or negative.
    """
    if np.ndim(gains) == 2 and np.shape(gains)[0] == 0 and np.shape(gains)[1] > 0:
        return _without_users(np.shape(gains)[1], power_watts, positions, sensing_gains)
    try:
        blocks = radio.allocate(
            gains,
            weights,
            power_watts,
            delay_information,
            positions,
            sensing_gains,
            most_iterations=most_iterations,
        )
    except radio.RadioError as error:
        raise IsacError(str(error)) from None
    gap = (blocks.bound - blocks.value) / blocks.bound if 0 < blocks.bound < np.inf else 0.0
    return Allocation(
        blocks.power,
        blocks.shares,
        blocks.shares.argmax(0),
        blocks.rates,
        blocks.information,
        blocks.centre,
        blocks.prices,
        max(gap, 0.0) if blocks.bound < np.inf else np.inf,
        blocks.iterations,
        blocks.shared,
        None if blocks.status == radio.SOLVED else _fallback(blocks, delay_information, gap),
    )


def proportional_fair_weights(average_rates: Any, floor: float = 1e-9) -> Floats:
    """Return weights [users] ``1 / T_u`` that make a slot's allocation proportionally fair, scaled to a mean of one.

    Args:
        average_rates: [users], each user's rate over its window, in any unit.
        floor: the smallest average, as a share of the largest, that is told apart from zero.
    """
    rates = np.asarray(average_rates, np.float64)
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        raise IsacError(f"average_rates: accepted: finite numbers of at least 0, got {rates.tolist()}")
    if not rates.any():
        return np.ones_like(rates)
    weights = 1 / np.maximum(rates, floor * rates.max())
    return weights / weights.mean()


def _without_users(blocks: int, power_watts: float, positions: Any, sensing: Any) -> Allocation:
    """What one user who hears nothing would get, all for sensing."""
    alone = allocate(np.zeros((1, blocks)), [1.0], power_watts, np.finfo(np.float64).max, positions, sensing)
    return Allocation(
        alone.power,
        alone.shares,
        np.full(blocks, -1, np.int64),
        np.zeros(0),
        alone.delay_information,
        alone.centre,
        (0.0, 0.0),
        0.0,
        0,
        0,
        "no users: all power tells about the delay (the one row of power is the sensing signal's)",
    )


def _fallback(blocks: Blocks, asked: float, gap: float) -> str:
    if blocks.status == radio.STOPPED:
        return f"stopped after {blocks.iterations} iterations: at most {gap:.1e} below the optimum"
    return f"infeasible: delay_information {asked:.4g} is above {blocks.information:.4g}, which all the power reaches"

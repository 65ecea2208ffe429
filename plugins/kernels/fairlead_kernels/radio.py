"""Decisions about one radio slot: beams that illuminate a target, powers of resource blocks; native where compiled.

Both take microseconds to some hundred, never raise for a hard channel and always answer with a point that keeps to the
power: ``status`` says whether it is the optimum, the nearest to an infeasible demand, or the best when iterations ran
out. ``reference_radio`` and ``reference_radio_blocks`` say what is solved and how.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_radio, reference_radio_blocks
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_radio import INFEASIBLE, SOLVED, STOPPED, Beams
from fairlead_kernels.reference_radio_blocks import Blocks

__all__ = ["INFEASIBLE", "SOLVED", "STOPPED", "Beams", "Blocks", "RadioError", "allocate", "illuminate"]

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


_REFUSED = 3


class RadioError(ValueError):
    """An argument is not what is accepted; the message names it, its value and what is."""


def illuminate(
    channels: Any, steering: Any, sinr: Any, power: float, noise: float, *, most_iterations: int = 400
) -> Beams:
    """Return the beams that illuminate a direction most while each user keeps its SINR.

    Args:
        channels: complex [users, antennas]; user k receives ``h_k^H x``.
        steering: complex [antennas]; the illumination is ``a^H R a``.
        sinr: [users], linear; 0: no requirement, and no beam.
        power: of all beams, watts.
        noise: at each user, watts (in the units of |h|^2 times power).
        most_iterations: systems of K equations to solve at most; the best point so far is returned then.

    Raises:
        RadioError: a shape that does not fit, a number that is not finite, power or noise not above zero.
    """
    h, a = _complex("channels", channels, 2), _complex("steering", steering, 1)
    gamma = _floats("sinr", sinr, 1)
    _fits("steering", a.shape, (h.shape[1],), "[antennas]")
    _fits("sinr", gamma.shape, (h.shape[0],), "[users]")
    _above_zero("power", power)
    _above_zero("noise", noise)
    _count("most_iterations", most_iterations)
    native = extension()
    found = None if native is None else _illuminated(native, h, a, gamma, float(power), float(noise), most_iterations)
    if found is not None:
        return found
    for name, array in (("channels", h), ("steering", a)):
        _finite(name, array)
    _at_least_zero("sinr", gamma)
    return reference_radio.illuminate(h, a, gamma, float(power), float(noise), most_iterations)


def allocate(
    gains: Any,
    weights: Any,
    power: float,
    information: float = 0.0,
    positions: Any = None,
    sensing: Any = None,
    *,
    most_iterations: int = 150,
) -> Blocks:
    """Return the powers of resource blocks and whose each is, for the largest weighted sum of rates.

    Args:
        gains: [users, blocks], SNR for a watt.
        weights: [users], at least 0.
        power: of all blocks together, watts.
        information: the least J of the powers, in the units that positions and sensing make; 0: none.
        positions: [blocks], where each block lies; None: 0, 1, 2, ...
        sensing: [blocks], what a watt on each tells about the delay; None: 1 each.
        most_iterations: Newton steps at most; the best point so far is returned then.

    Raises:
        RadioError: a shape that does not fit, no user or block, a number that is not finite or negative.
    """
    g, w = _floats("gains", gains, 2), _floats("weights", weights, 1)
    if not g.size:
        raise RadioError(f"gains: must have a user and a block at least, got {list(g.shape)}")
    blocks = g.shape[1]
    x = np.arange(blocks, dtype=np.float64) if positions is None else _floats("positions", positions, 1)
    s = np.ones(blocks) if sensing is None else _floats("sensing", sensing, 1)
    _fits("weights", w.shape, (g.shape[0],), "[users]")
    _fits("positions", x.shape, (blocks,), "[blocks]")
    _fits("sensing", s.shape, (blocks,), "[blocks]")
    _above_zero("power", power)
    _count("most_iterations", most_iterations)
    native = extension()
    question = (g, w, float(power), float(information), x, s, most_iterations)
    found = None if native is None else _allocated(native, *question)
    if found is not None:
        return found
    _finite("positions", x)
    for name, array in (("gains", g), ("weights", w), ("sensing", s), ("information", np.atleast_1d(information))):
        _at_least_zero(name, array)
    return reference_radio_blocks.allocate(*question)


def _illuminated(
    native: Any, h: Complex, a: Complex, sinr: Floats, power: float, noise: float, most: int
) -> Beams | None:
    """What native code decides, or None where it refuses a number (the checks in Python then say which)."""
    beams, sensing, duals = np.empty_like(h), np.empty_like(a), np.empty_like(sinr)
    pairs = (h.view(np.float64), a.view(np.float64))
    out = (beams.view(np.float64), sensing.view(np.float64), duals)
    price, gained, bound, reached, used, status = native.radio_illuminate(*pairs, sinr, power, noise, most, *out)
    if status == _REFUSED:
        return None
    return Beams(beams, sensing, duals, price, gained, bound, reached, used, status)


def _allocated(
    native: Any, g: Floats, w: Floats, power: float, information: float, x: Floats, s: Floats, most: int
) -> Blocks | None:
    powers, shares, rates = np.empty_like(g), np.empty_like(g), np.empty_like(w)
    told, lam, nu, centre, value, bound, used, shared, status = native.radio_allocate(
        g, w, power, information, x, s, most, powers, shares, rates
    )
    if status == _REFUSED:
        return None
    return Blocks(powers, shares, rates, told, (lam, nu), centre, value, bound, used, shared, status)


def _complex(name: str, value: Any, dims: int) -> Complex:
    return _array(name, value, np.complex128, dims)


def _floats(name: str, value: Any, dims: int) -> Floats:
    return _array(name, value, np.float64, dims)


def _array(name: str, value: Any, dtype: Any, dims: int) -> NDArray[Any]:
    try:
        array = np.ascontiguousarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise RadioError(f"{name}: must be numbers, {error}") from None
    if np.ndim(value) != dims:
        raise RadioError(f"{name}: must have {dims} dimensions, got the shape {list(np.shape(value))}")
    return array


def _fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...], meaning: str) -> None:
    if shape != wanted:
        raise RadioError(f"{name}: must be {meaning} = {list(wanted)}, got {list(shape)}")


def _finite(name: str, array: NDArray[Any]) -> None:
    _refuse(name, array, ~np.isfinite(array), "finite numbers")


def _at_least_zero(name: str, array: Floats) -> None:
    _refuse(name, array, ~(np.isfinite(array) & (array >= 0)), "finite numbers of at least 0")


def _refuse(name: str, array: NDArray[Any], bad: NDArray[np.bool_], accepted: str) -> None:
    if bad.any():
        place = tuple(int(at) for at in np.argwhere(bad)[0])
        raise RadioError(f"{name}{list(place)}: is {array[place]}; accepted: {accepted}")


def _above_zero(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise RadioError(f"{name}: must be a finite number above 0, got {value}")


def _count(name: str, value: int) -> None:
    if value < 1:
        raise RadioError(f"{name}: must be at least 1, got {value}")

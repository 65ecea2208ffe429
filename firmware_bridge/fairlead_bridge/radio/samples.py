"""Checks of what callers hand in, the same for every radio; needs numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_bridge.radio.radio import RadioError

Complex = NDArray[np.complex128]


def by_antenna(samples: object, antennas: int) -> Complex:
    """Samples as complex [antennas, samples].

    Raises:
        RadioError: another shape, or a value that is not finite.
    """
    array = np.asarray(samples, np.complex128)
    expected = "[samples]" if antennas == 1 else f"[{antennas}, samples]"
    shaped = array[None, :] if array.ndim == 1 and antennas == 1 else array
    if shaped.ndim != 2 or shaped.shape[0] != antennas:
        raise RadioError(f"samples of shape {list(array.shape)}; accepted: {expected}")
    if not np.isfinite(shaped).all():
        raise RadioError("samples: some are not finite; accepted: finite complex numbers")
    return shaped


def by_radio(samples: Complex) -> Complex:
    """The inverse of ``by_antenna``: one antenna's samples as [samples]."""
    return samples[0] if len(samples) == 1 else samples


def checked_count(count: int) -> int:
    """How many samples to receive; RadioError where it is none."""
    if not isinstance(count, int | np.integer) or count <= 0:
        raise RadioError(f"count: {count!r}; accepted: an integer above 0")
    return int(count)

"""Arguments of solvers, checked once: the message names the argument, its value and what is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError


def array_of(name: str, value: Any, dtype: Any, *shape: int | None) -> NDArray[Any]:
    """Return the value as an array of that dtype and shape (None: any size), all of it finite."""
    try:
        array = np.ascontiguousarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise IsacError(f"{name}: must be numbers, {error}") from None
    got = np.shape(value)
    if len(got) != len(shape) or any(w is not None and w != g for w, g in zip(shape, got, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise IsacError(f"{name}: must have the shape [{wanted}], got {list(got)}")
    refuse(name, array, ~np.isfinite(array), "finite numbers")
    return array


def at_least_zero(name: str, value: Any, *shape: int | None) -> NDArray[np.float64]:
    """Return the value as float64 of that shape, finite and not negative."""
    array = array_of(name, value, np.float64, *shape)
    refuse(name, array, array < 0, "finite numbers of at least 0")
    return array


def refuse(name: str, array: NDArray[Any], bad: NDArray[np.bool_], accepted: str) -> None:
    """Raise IsacError for the first element that is bad."""
    if bad.any():
        place = tuple(int(at) for at in np.argwhere(bad)[0])
        raise IsacError(f"{name}{list(place)}: is {array[place]}; accepted: {accepted}")


def above_zero(name: str, value: float) -> float:
    """Return the number if it is finite and above zero."""
    if not (np.isfinite(value) and value > 0):
        raise IsacError(f"{name}: must be a finite number above 0, got {value}")
    return float(value)

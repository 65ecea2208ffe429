"""Argument checks shared by both backends, so that a mistake reads the same on each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_FEW = 64

ACTIVATIONS: dict[str, int] = {"drelu": 0, "relu": 1, "swiglu": 2, "geglu": 3}


def array_of(name: str, value: Any, dtype: Any, shape: Sequence[int | None]) -> NDArray[Any]:
    """Return ``value`` if it is a C-contiguous array of that dtype and shape (None: any size).

    Raises:
        ValueError: it is not; the message names the argument, what came and what is accepted.
    """
    wanted = np.dtype(dtype)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name}: must be a NumPy array of {wanted}, got {type(value).__name__}")
    array = cast(NDArray[Any], value)
    got = array.shape
    if array.dtype != wanted or not _fits(got, shape):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: must be {wanted} [{sizes}], got {array.dtype} {list(got)}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: must be C-contiguous; pass numpy.ascontiguousarray({name})")
    return array


def _fits(got: tuple[int, ...], shape: Sequence[int | None]) -> bool:
    if len(got) != len(shape):
        return False
    for size, wanted in zip(got, shape, strict=True):  # noqa: SIM110  a generator takes twice as long, in every token
        if wanted is not None and wanted != size:
            return False
    return True


def rows_of(name: str, value: Any) -> NDArray[np.float32]:
    """Return ``value`` if it is a C-contiguous float32 array [..., n] with n above 0, else raise ValueError."""
    shape: tuple[int, ...] = np.shape(value)
    if not shape or not shape[-1]:
        raise ValueError(f"{name}: must be float32 [..., n] with n above 0, got {list(shape)}")
    return array_of(name, value, np.float32, shape)


def writable(name: str, value: NDArray[Any]) -> NDArray[Any]:
    """Return ``value`` if it may be written to, else raise ValueError."""
    if not value.flags.writeable:
        raise ValueError(f"{name}: must be writable")
    return value


def indices_below(name: str, value: NDArray[Any], limit: int) -> None:
    """Raise IndexError unless every entry lies in [0, limit)."""
    if not value.size:
        return
    # Lists are faster where they are short, and a token's are.
    few = value.tolist() if value.size <= _FEW and value.ndim == 1 else None
    least, most = (value.min(), value.max()) if few is None else (min(few), max(few))
    if least < 0 or most >= limit:
        at = int(np.flatnonzero((value < 0) | (value >= limit))[0])
        raise IndexError(f"{name}[{at}]: {int(value[at])} is outside 0..{limit - 1}")


def neuron_list(value: Any, neurons: int) -> NDArray[np.int32]:
    """Check a list of neurons: int32, in range, each at most once; any order."""
    chosen = array_of("neurons", value, np.int32, (None,))
    indices_below("neurons", chosen, neurons)
    if np.bincount(chosen, minlength=1).max() > 1:
        raise ValueError("neurons: must name each neuron at most once")
    return chosen


def page_list(value: Any, length: int, pages: int, page_size: int) -> NDArray[np.int32]:
    """Check that a page table covers positions [0, length) with pages that exist."""
    table = array_of("page_table", value, np.int32, (None,))
    needed = -(-length // page_size)
    if needed > table.shape[0]:
        raise IndexError(
            f"page_table: {length} positions need {needed} pages of {page_size}, the table has {table.shape[0]}"
        )
    indices_below("page_table", table[:needed], pages)
    return table


def activation_code(activation: str) -> int:
    """Return the native code of an activation's name, else raise ValueError."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


def threshold_value(threshold: float) -> float:
    """Return the threshold if it is finite and not negative, else raise ValueError."""
    if not (threshold >= 0.0 and np.isfinite(threshold)):
        raise ValueError(f"threshold: must be finite and at least 0, got {threshold}")
    return float(threshold)

"""How a cluster index is trained, and the memory that its build takes: known before anything is allocated."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_lists import Closure, Lists, ListTraining, train_lists
from fairlead_kernels.vectors import Space as KernelSpace

from ..errors import BudgetExceeded, TieredRetrievalError
from ..index import Limits
from ..space import Space
from .closing import Closing, as_asked_for, closing

#: Vectors of a list on average, of the sample that clusters and codes are trained on, and that are looked at together.
LIST_SIZE, SAMPLE, CHUNK = 200, 20_000, 1 << 14
#: Of a training, as it is saved.
PARTS = ("mean", "reflectors", "triangle", "steps", "signs")


def kernel_space(space: Space) -> KernelSpace:
    """The space as kernels have it."""
    return KernelSpace(space.element, space.metric, space.dim)


def trained(space: Space, sample: NDArray, count: int, size: int, code_bytes: float | None, seed: int) -> ListTraining:
    """Codes and clusters for `count` vectors, `size` a list; raises TieredRetrievalError where no code is as small."""
    lists = max(1, min(count // size, len(sample) // 8))
    try:
        return train_lists(kernel_space(space), sample, lists, code_bytes=code_bytes, seed=seed)
    except ValueError as error:
        raise TieredRetrievalError(f"an index of lists: {error}") from error


def chosen_closing(
    space: Space, training: ListTraining, sample: NDArray, size: int, copies: int | None, spare: float, seed: int
) -> Closing:
    """Closure as asked for, or as a sample says."""
    if copies is None:
        return closing(space, training, sample, size, spare, seed)
    if not 0 <= copies <= 7:
        raise TieredRetrievalError(f"an index of lists: copies = {copies}; accepted: 0 to 7")
    return as_asked_for(copies, size)


def adopted(space: Space, codes: dict, arrays: dict[str, NDArray], closure: Closure) -> Lists:
    """The lists that were saved; ValueError, KeyError where parts do not fit together."""
    lead = int(codes["bytes_dims"]) + int(codes["nibble_dims"])
    shapes = {"reflectors": (lead, space.dim), "triangle": (lead, lead), "signs": (4, space.dim - lead)}
    parts = {name: arrays.pop(name) for name in PARTS}
    parts = {name: array.reshape(shapes.get(name, array.shape)) for name, array in parts.items()}
    centroids = arrays["centroids"].reshape(-1, lead)
    known = {field.name for field in fields(ListTraining)}
    given = {name: value for name, value in codes.items() if name in known}
    lists = Lists(ListTraining(kernel_space(space), **given, **parts, centroids=centroids), closure)
    lists.adopt(arrays)
    return lists


def check_memory(space: Space, slots: NDArray, limits: Limits, region: Any, code_bytes: float | None) -> None:
    """Raise BudgetExceeded where a build would take more than it may."""
    needed = _needed(space, slots, region, code_bytes)
    if limits.memory_bytes is not None and needed > limits.memory_bytes:
        raise BudgetExceeded(f"an index of lists of {len(slots)} vectors", needed, limits.memory_bytes)


def spare_memory(space: Space, slots: NDArray, limits: Limits, region: Any, code_bytes: float | None) -> float:
    """Bytes that a build leaves of what it may take."""
    if limits.memory_bytes is None:
        return np.inf
    return limits.memory_bytes - _needed(space, slots, region, code_bytes)


def _needed(space: Space, slots: NDArray, region: Any, code_bytes: float | None) -> int:
    """Bytes of a build without copies."""
    codes = 0.0655 * 4 * space.dim if code_bytes is None else code_bytes
    needed = int(1.15 * len(slots) * (codes + 8)) + 5 * int(slots[-1])
    needed += 4 * space.dim * (3 * min(SAMPLE, len(slots)) + 2 * CHUNK + 4 * space.dim) + 24 * len(slots)
    if region is None:
        needed += (len(slots) + len(slots) // 16 + 16) * space.bytes
    return needed

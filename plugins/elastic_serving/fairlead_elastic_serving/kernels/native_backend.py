"""The kernels in C++ (fairlead_kernels.unified), over the NumPy view of the pages: nothing is copied.

Arguments are those of `reference`; float arrays have to be float32 and all arrays contiguous. The interpreter's lock is
released, and the kernels' thread pool computes (fairlead_kernels.set_threads). A query's bits depend neither on the
number of threads nor on what else is in a call, and a chunk's token has those that it has alone.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arena.formats import PageLayout
from ..errors import MissingBackend
from .segments import Pages
from .tiers import Tiers

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def why_not() -> str:
    """Return why the native kernels cannot compute here; empty where they can."""
    if find_spec("fairlead_kernels") is None:
        return "fairlead-kernels is not installed"
    import fairlead_kernels

    if fairlead_kernels.backend().name != "native":
        return f"the kernels compute in NumPy: {fairlead_kernels.backend().reason}"
    from fairlead_kernels import unified

    return "" if unified.available() else "the installed kernels are too old for unified pages: build them again"


@cache
def native_kernels() -> Any:
    """Return `fairlead_kernels.unified`; raises MissingBackend where it cannot compute."""
    reason = why_not()
    if reason:
        raise MissingBackend(f"native kernels for unified pages: {reason}; install with: pip install fairlead-kernels")
    from fairlead_kernels import unified

    return unified


@cache
def native_layout(tiers: Tiers) -> Any:
    """Return two tiers' layouts as the native kernels take them."""
    return native_kernels().layout(tiers.head_dim, tiers.page_bytes, _numbers(tiers.high), _numbers(tiers.low))


# The extension reports as leaks what of it is alive when the interpreter ends.
atexit.register(native_layout.cache_clear)


def _numbers(layout: PageLayout) -> tuple[int, ...]:
    form = layout.format
    return (
        form.key_bits,
        form.value_bits,
        layout.tokens,
        layout.keys,
        layout.key_meta,
        layout.values,
        layout.value_meta,
        layout.scores,
        layout.positions,
    )


def write(
    pages: Pages,
    tiers: Tiers,
    tier: int,
    tables: I32,
    rows: I32,
    slots: I32,
    keys: F32,
    values: F32,
    scores: F32,
    positions: I32,
) -> None:
    """Quantize keys and values to a tier's format and store them; see `reference.write`."""
    native_kernels().write(native_layout(tiers), pages, tier, tables, rows, slots, keys, values, scores, positions)


def gather(
    pages: Pages, tiers: Tiers, tier: int, tables: I32, rows: I32, slots: I32
) -> tuple[F32, F32, NDArray[np.float16], I32]:
    """Return keys, values, scores and positions of single tokens; see `reference.gather`."""
    return native_kernels().gather(native_layout(tiers), tiers.head_dim, pages, tier, tables, rows, slots)


def copy_slots(pages: Pages, tiers: Tiers, tier: int, tables: I32, rows: I32, sources: I32, targets: I32) -> None:
    """Copy tokens within their tier; see `reference.copy_slots`."""
    native_kernels().copy_slots(native_layout(tiers), pages, tier, tables, rows, sources, targets)


def bookkeeping(pages: Pages, tiers: Tiers, tier: int, tables: I32, rows: I32, counts: I32) -> tuple[F32, I32, I32]:
    """Return scores, positions and page numbers of a tier's tokens; see `torch_backend.bookkeeping`."""
    return native_kernels().bookkeeping(native_layout(tiers), pages, tier, tables, rows, counts)


def copy_pages(pages: Pages, sources: I32, targets: I32) -> None:
    """Copy whole pages by number, one after the other."""
    native_kernels().copy_pages(pages, sources, targets)


def attend(
    queries: F32,
    pages: Pages,
    tiers: Tiers,
    tables: I32,
    rows: I32,
    counts: I32,
    scale: float,
    *,
    now: I32 | None = None,
    holders: I32 | None = None,
    starts: I32 | None = None,
    window: int | None = None,
    positions: I32 | None = None,
) -> tuple[F32, F32]:
    """Attention over both tiers; see `reference.attend`, and with ``now`` also `reference.update_scores`."""
    return native_kernels().attend(
        native_layout(tiers),
        queries,
        pages,
        tables,
        rows,
        counts,
        scale,
        starts=starts,
        window=window,
        positions=positions,
        now=now,
        holders=holders,
    )


def attend_chunks(
    queries: F32,
    starts: I32,
    stored: I32,
    pages: Pages,
    tiers: Tiers,
    tables: I32,
    rows: I32,
    scale: float,
    *,
    window: int | None = None,
    received: Sequence[F32 | None] | None = None,
) -> tuple[F32, F32]:
    """Causal attention of chunks of sequences; see `reference.attend_chunks`."""
    return native_kernels().attend_chunks(
        native_layout(tiers), queries, starts, stored, pages, tables, rows, scale, window=window, received=received
    )

"""Attention and storage over unified pages: typeless pages whose format, of 2 to 32 bits, is that of their tier.

The reference beside these kernels is that of whoever defines the pages (fairlead_elastic_serving.kernels.reference);
here they are only where the compiled extension is. Every argument is checked before a page is touched: a page, row or
slot that does not exist raises IndexError, another type or shape ValueError, and nothing has been written then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import BackendError, backend, extension

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def available() -> bool:
    """Return whether the native kernels are what computes, and have these."""
    return hasattr(extension(), "unified_bookkeeping")  # the newest of them


def layout(head_dim: int, page_bytes: int, high: Sequence[int], low: Sequence[int]) -> Any:
    """Return what the other calls take as the pages' layout.

    Args:
        head_dim: elements of a vector, a multiple of 8 up to 1024.
        page_bytes: of a page, a multiple of 16.
        high: of the high tier's pages: bits of keys and of values, tokens, and where the segments of keys, their scales
            and zero points, values, theirs, scores and positions begin, in bytes.
        low: of the low tier's pages.

    Raises:
        ValueError: a segment does not lie within the page.
        BackendError: native kernels are not what computes.
    """
    return _module().UnifiedLayout(head_dim, page_bytes, list(map(int, high)), list(map(int, low)))


def write(
    layout: Any,
    pages: NDArray[np.uint8],
    tier: int,
    tables: I32,
    rows: I32,
    slots: I32,
    keys: F32,
    values: F32,
    scores: F32,
    positions: I32,
) -> None:
    """Store vectors [tokens, kv_heads, head_dim] in the tier's format; negative slots are left out."""
    _call("unified_write", layout, pages, tier, tables, rows, slots, keys, values, scores, positions)


def gather(
    layout: Any, head_dim: int, pages: NDArray[np.uint8], tier: int, tables: I32, rows: I32, slots: I32
) -> tuple[F32, F32, NDArray[np.float16], I32]:
    """Return keys and values [tokens, head_dim], scores and positions of single tokens."""
    count = len(rows)
    keys, values = np.empty((count, head_dim), np.float32), np.empty((count, head_dim), np.float32)
    scores, positions = np.empty(count, np.float16), np.empty(count, np.int32)
    into = (keys, values, scores.view(np.uint16), positions)
    _call("unified_gather", layout, pages, tier, tables, rows, slots, *into)
    return keys, values, scores, positions


def copy_slots(
    layout: Any, pages: NDArray[np.uint8], tier: int, tables: I32, rows: I32, sources: I32, targets: I32
) -> None:
    """Copy tokens within their row and tier, one after the other; where either is negative nothing is copied."""
    _call("unified_copy_slots", layout, pages, tier, tables, rows, sources, targets)


def bookkeeping(
    layout: Any, pages: NDArray[np.uint8], tier: int, tables: I32, rows: I32, counts: I32
) -> tuple[F32, I32, I32]:
    """Return scores float32, positions and page numbers of all tokens of a tier in some rows: [rows, longest] each.

    ``counts`` [rows, 2] are those of these rows; beyond them there are zeros.
    """
    shape = len(rows), int(counts[:, tier].max(initial=0)) if counts.ndim == 2 and tier in (0, 1) else 0
    scores = np.empty(shape, np.float32)
    positions, page = np.empty(shape, np.int32), np.empty(shape, np.int32)
    _call("unified_bookkeeping", layout, pages, tier, tables, rows, counts, scores, positions, page)
    return scores, positions, page


def copy_pages(pages: NDArray[np.uint8], sources: I32, targets: I32) -> None:
    """Copy whole pages by number, one after the other."""
    _call("unified_copy_pages", pages, sources, targets)


def attend(
    layout: Any,
    queries: F32,
    pages: NDArray[np.uint8],
    tables: I32,
    rows: I32,
    counts: I32,
    scale: float,
    *,
    starts: I32 | None = None,
    window: int | None = None,
    positions: I32 | None = None,
    now: I32 | None = None,
    holders: I32 | None = None,
) -> tuple[F32, F32]:
    """Attention of queries [queries, heads, head_dim] over all tokens of both tiers, and the logarithms of the sums.

    With ``now`` [sequences] the attention of each sequence's one query, which stands there, goes into the scores of the
    tokens on pages that only one holds (``holders`` [pages]; None: all).
    """
    out, total = np.empty(queries.shape, np.float32), np.empty(queries.shape[:2], np.float32)
    given = (queries, pages, tables, rows, counts, scale, starts, _window(window), positions, now, holders)
    _call("unified_attend", layout, *given, out, total)
    return out, total


def attend_chunks(
    layout: Any,
    queries: F32,
    starts: I32,
    stored: I32,
    pages: NDArray[np.uint8],
    tables: I32,
    rows: I32,
    scale: float,
    *,
    window: int | None = None,
    received: Sequence[F32 | None] | None = None,
) -> tuple[F32, F32]:
    """Causal attention of chunks, each of whose tokens stands in the high tier behind the ``stored`` ones.

    To each array of ``received`` [heads, stored + chunk] the attention is added that a slot gets from tokens of the
    chunk other than the one that stands in it.
    """
    out, total = np.empty(queries.shape, np.float32), np.empty(queries.shape[:2], np.float32)
    into = None if received is None else list(received)
    given = (queries, starts, stored, pages, tables, rows, scale, _window(window), into)
    _call("unified_attend_chunks", layout, *given, out, total)
    return out, total


def _window(window: int | None) -> int:
    if window is None:
        return 0
    if window < 1:
        raise ValueError(f"window {window}: accepted: 1 and above")
    return min(window, 2**31 - 1)


def _module() -> Any:
    module = extension()
    if not hasattr(module, "unified_bookkeeping"):
        raise BackendError(f"unified pages: the native kernels are needed: {backend().reason or 'build them again'}")
    return module


def _call(name: str, *arguments: Any) -> None:
    native: Callable[..., None] = getattr(_module(), name)
    try:
        native(*arguments)
    except TypeError:
        # The extension takes no other types and makes no copies; it does not say which argument it refused.
        given = ", ".join(_described(argument) for argument in arguments)
        raise ValueError(
            f"{name.removeprefix('unified_')}: given {given}; accepted: C-contiguous arrays, uint8 pages [pages, "
            "page_bytes], int32 numbers and float32 vectors, as documented"
        ) from None


def _described(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        order = "" if argument.flags.c_contiguous else " (not contiguous)"
        return f"{argument.dtype} {list(argument.shape)}{order}"
    return repr(argument) if isinstance(argument, int | float | None) else type(argument).__name__

"""Page management on the device: many rows take pages, or give them back, at once, by prefix sums.

Free pages stand in two rings (see `allocation.Ring`): own pages and those borrowed from weights, the own ones first.
Three
kernels: each block of rows adds up what it wants, one program turns the blocks' sums to where their slices begin, and
each block hands its slices out. A last one moves the rings' ends. Nothing is read back to the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from ...arena import allocation
from .pages import checked

OWN_HEAD, OWN_COUNT, BORROWED_HEAD, BORROWED_COUNT, MISSING = (tl.constexpr(place) for place in range(5))
"""What stands where in the state of the rings; MISSING: pages that the last allocation wanted and did not get."""
BLOCK = 1024


@triton.jit
def _block_sums(counts, total, sums, BLOCK: tl.constexpr):
    """How many pages each block of rows wants."""
    block = tl.program_id(0)
    row = block * BLOCK + tl.arange(0, BLOCK)
    tl.store(sums + block, tl.sum(tl.load(counts + row, mask=row < total, other=0), 0))


@triton.jit
def _starts(sums, starts, blocks, PADDED: tl.constexpr):
    """The exclusive prefix sum of the blocks' sums; the whole sum behind the last."""
    block = tl.arange(0, PADDED)
    each = tl.load(sums + block, mask=block < blocks, other=0)
    inclusive = tl.cumsum(each, 0)
    tl.store(starts + block, inclusive - each, mask=block < blocks)
    tl.store(starts + blocks, tl.sum(each, 0))


@triton.jit
def _hand_out(counts, rows, first, total, starts, blocks, own, own_capacity, borrowed, borrowed_capacity, state, tables,
              width, FROM_RIGHT: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Each row of a block takes its slice of the rings; nobody does where the pages are too few for all."""
    block = tl.program_id(0)
    row = block * BLOCK + tl.arange(0, BLOCK)
    inside = row < total
    wanted = tl.load(counts + row, mask=inside, other=0)
    begin = tl.load(starts + block) + tl.cumsum(wanted, 0) - wanted
    own_head = tl.load(state + OWN_HEAD)
    own_count = tl.load(state + OWN_COUNT)
    borrowed_head = tl.load(state + BORROWED_HEAD)
    available = own_count + tl.load(state + BORROWED_COUNT)
    most = tl.where(tl.load(starts + blocks) > available, 0, tl.max(wanted, 0))
    table = tl.load(rows + row, mask=inside, other=0).to(tl.int64) * width
    place = tl.load(first + row, mask=inside, other=0)
    for number in range(most):
        mine = number < wanted
        index = begin + number
        is_own = index < own_count
        own_page = tl.load(own + (own_head + index) % own_capacity, mask=mine & is_own, other=0)
        at = (borrowed_head + index - own_count) % borrowed_capacity
        borrowed_page = tl.load(borrowed + at, mask=mine & (index >= own_count), other=0)
        column = place + number
        if FROM_RIGHT:
            column = width - 1 - column
        tl.store(tables + table + column, tl.where(is_own, own_page, borrowed_page), mask=mine)


@triton.jit
def _advance(starts, blocks, own_capacity, borrowed_capacity, state):
    """Move the rings' heads past what was handed out."""
    wanted = tl.load(starts + blocks)
    own_head = tl.load(state + OWN_HEAD)
    own_count = tl.load(state + OWN_COUNT)
    borrowed_head = tl.load(state + BORROWED_HEAD)
    borrowed_count = tl.load(state + BORROWED_COUNT)
    missing = tl.maximum(wanted - own_count - borrowed_count, 0)
    taken = tl.where(missing > 0, 0, wanted)
    from_own = tl.minimum(taken, own_count)
    from_borrowed = taken - from_own
    tl.store(state + OWN_HEAD, (own_head + from_own) % own_capacity)
    tl.store(state + OWN_COUNT, own_count - from_own)
    tl.store(state + BORROWED_HEAD, (borrowed_head + from_borrowed) % borrowed_capacity)
    tl.store(state + BORROWED_COUNT, borrowed_count - from_borrowed)
    tl.store(state + MISSING, missing)


@triton.jit
def _count_own(pages, total, is_borrowed, sums, BLOCK: tl.constexpr):
    """How many pages of each block are own ones."""
    block = tl.program_id(0)
    item = block * BLOCK + tl.arange(0, BLOCK)
    page = tl.load(pages + item, mask=item < total, other=-1)
    foreign = tl.load(is_borrowed + page, mask=page >= 0, other=1)
    tl.store(sums + block, tl.sum(tl.where(foreign == 0, 1, 0), 0))


@triton.jit
def _give_back(pages, total, is_borrowed, starts, own, own_capacity, borrowed, borrowed_capacity, state,
               BLOCK: tl.constexpr):  # fmt: skip
    """Append the pages of a block to the rings, each to its own, in order."""
    block = tl.program_id(0)
    item = block * BLOCK + tl.arange(0, BLOCK)
    inside = item < total
    page = tl.load(pages + item, mask=inside, other=0)
    foreign = tl.load(is_borrowed + page, mask=inside, other=1).to(tl.int32)
    mine = tl.where(inside & (foreign == 0), 1, 0)
    own_before = tl.load(starts + block) + tl.cumsum(mine, 0) - mine
    borrowed_before = item - own_before
    own_end = tl.load(state + OWN_HEAD) + tl.load(state + OWN_COUNT)
    borrowed_end = tl.load(state + BORROWED_HEAD) + tl.load(state + BORROWED_COUNT)
    tl.store(own + (own_end + own_before) % own_capacity, page, mask=mine == 1)
    tl.store(borrowed + (borrowed_end + borrowed_before) % borrowed_capacity, page, mask=inside & (mine == 0))


@triton.jit
def _grow(starts, blocks, total, state):
    """Count what was given back."""
    own = tl.load(starts + blocks)
    tl.store(state + OWN_COUNT, tl.load(state + OWN_COUNT) + own)
    tl.store(state + BORROWED_COUNT, tl.load(state + BORROWED_COUNT) + total - own)


@dataclass(slots=True)
class DeviceRings:
    """The rings of free pages on a device."""

    own: torch.Tensor
    """int32 [pages]."""
    borrowed: torch.Tensor
    """int32 [pages]."""
    is_borrowed: torch.Tensor
    """int8 [pages], 1 for pages that belong to weights."""
    state: torch.Tensor
    """int32 [5]: heads and counts of both, and what was missing last."""

    @classmethod
    def of(
        cls, own: allocation.Ring, borrowed: allocation.Ring, is_borrowed: NDArray[np.bool_], device: str
    ) -> DeviceRings:
        """Copy the host's rings.

        Args:
            own: free pages of the instance's own.
            borrowed: free pages of dropped layers.
            is_borrowed: bool [pages], of the arena's pages those that belong to layers, the held ones included (see
                `PageArena.is_borrowed`): where each goes when it is given back.
            device: of torch.

        Raises:
            ValueError: a free page stands in the other ring than ``is_borrowed`` says.
        """
        free = [ring.peek(ring.count) for ring in (own, borrowed)]
        wrong = np.concatenate([free[0][is_borrowed[free[0]]], free[1][~is_borrowed[free[1]]]])
        if len(wrong):
            raise ValueError(f"is_borrowed: pages {wrong[:8].tolist()}: accepted: True for pages of `borrowed` alone")
        state = np.array([own.head, own.count, borrowed.head, borrowed.count, 0], np.int32)
        arrays = (own.pages, borrowed.pages, is_borrowed.astype(np.int8), state)
        return cls(*(torch.from_numpy(array.copy()).to(device) for array in arrays))

    def missing(self) -> int:
        """Return how many pages were missing at the last allocation; waits for the device."""
        return int(self.state[4])

    def free(self) -> int:
        """Return how many pages are free; waits for the device."""
        return int(self.state[1] + self.state[3])

    def allocate(
        self, tables: torch.Tensor, rows: torch.Tensor, first: torch.Tensor, counts: torch.Tensor, *, from_right: bool
    ) -> None:
        """Take pages for many rows at once; see `allocation.fill`. Changes nothing where they are too few: see
        `missing`.

        Args:
            tables: int32 [all rows, width]; written.
            rows: int32 [asked], each at most once.
            first: int32 [asked], pages that the row has on that side.
            counts: int32 [asked], pages that it gets.
            from_right: the side: the low tier's.
        """
        checked("tables", tables, torch.int32, None, None)
        asked = len(checked("rows", rows, torch.int32, None))
        checked("first", first, torch.int32, asked)
        checked("counts", counts, torch.int32, asked)
        blocks = triton.cdiv(max(1, asked), BLOCK)
        sums = torch.empty(blocks, dtype=torch.int32, device=tables.device)
        starts = torch.empty(blocks + 1, dtype=torch.int32, device=tables.device)
        rings = (self.own, len(self.own), self.borrowed, len(self.borrowed), self.state)
        _block_sums[(blocks,)](counts, asked, sums, BLOCK=BLOCK)
        _starts[(1,)](sums, starts, blocks, PADDED=max(2, triton.next_power_of_2(blocks)))
        _hand_out[(blocks,)](counts, rows, first, asked, starts, blocks, *rings, tables, tables.shape[1],
                             FROM_RIGHT=from_right, BLOCK=BLOCK)  # fmt: skip
        _advance[(1,)](starts, blocks, len(self.own), len(self.borrowed), self.state)

    def recycle(self, pages: torch.Tensor) -> None:
        """Give pages int32 [pages] back, each once and each to the ring that it came from."""
        given = len(checked("pages", pages, torch.int32, None))
        blocks = triton.cdiv(max(1, given), BLOCK)
        sums = torch.empty(blocks, dtype=torch.int32, device=pages.device)
        starts = torch.empty(blocks + 1, dtype=torch.int32, device=pages.device)
        _count_own[(blocks,)](pages, given, self.is_borrowed, sums, BLOCK=BLOCK)
        _starts[(1,)](sums, starts, blocks, PADDED=max(2, triton.next_power_of_2(blocks)))
        _give_back[(blocks,)](pages, given, self.is_borrowed, starts, self.own, len(self.own), self.borrowed,
                              len(self.borrowed), self.state, BLOCK=BLOCK)  # fmt: skip
        _grow[(1,)](starts, blocks, given, self.state)

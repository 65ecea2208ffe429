"""The hot neurons of a layer on a GPU: three kernels in Triton over weights as they are stored.

Rounded input -> gate, activation, up and down of a block of neurons, whose sums each program keeps apart -> the sum of
those in one order. Nothing is added atomically, so that the same input gives the same bits. Activations are rounded to
8 bits in groups of 32 as on the processor; sums are float32. Packed rows are read in the lane order of
`fairlead_kernels.packed`: a superblock of 16 lanes is contiguous, and what stands at its byte i is worked out here.

With TRITON_INTERPRET=1 the same code runs on the processor, slowly.
"""

# Triton's compiler reads these functions' source: their parameters have no types but constants.

from __future__ import annotations

import triton
import triton.language as tl

#: Weights of a row that are taken at once: half a superblock's.
SPAN = tl.constexpr(256)
#: Adding and subtracting it rounds a small float32 to the nearest integer, halves to even.
_ROUNDER = tl.constexpr(12582912.0)


@triton.jit
def round_input(x, rounded, hidden, GROUPS: tl.constexpr):
    """Rounded [tokens, hidden] = x in integers of -127..127 times a scale for each 32 columns."""
    token = tl.program_id(1)
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    at = token * hidden + group[:, None] * 32 + tl.arange(0, 32)[None, :]
    there = group[:, None] < hidden // 32
    value = tl.load(x + at, mask=there, other=0.0)
    largest = tl.max(tl.abs(value), axis=1)
    some = largest >= 1e-30
    safe = tl.where(some, largest, 1.0)
    inverse = tl.where(some, tl.div_rn(tl.full((GROUPS,), 127.0, tl.float32), safe), 0.0)
    scale = tl.where(some, tl.div_rn(safe, tl.full((GROUPS,), 127.0, tl.float32)), 0.0)
    integer = (value * inverse[:, None] + _ROUNDER) - _ROUNDER
    tl.store(rounded + at, integer * scale[:, None], mask=there)


@triton.jit
def _columns(superblock, half, lanes, hidden, BITS: tl.constexpr):
    """The column of each weight of half a superblock [SPAN]; `hidden` where there is none."""
    i = tl.arange(0, SPAN)
    if BITS == 16:
        column = superblock * (2 * SPAN) + half * SPAN + i
    else:
        # Bytes of a vector: four for each lane.
        width = 4 * tl.minimum(lanes - superblock * 16, 16)
        chunk = i // width
        vector = 2 * chunk + half if BITS == 4 else 4 * half + chunk
        column = (superblock * 16 + i % width // 4) * 32 + vector * 4 + i % 4
        column = tl.where(chunk < 4, column, hidden)
    return tl.minimum(column, hidden)


@triton.jit
def _weights(
    data, scale, rows, there, superblock, half, lanes, hidden, column,
    BITS: tl.constexpr, ROWS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Weights float32 [ROWS, SPAN] of half a superblock; 0 where a row or a column is not there."""
    i = tl.arange(0, SPAN)
    inside = there[:, None] & (column < hidden)[None, :]
    row = rows[:, None].to(tl.int64)
    if BITS == 16:
        return tl.load(data + row * hidden + column[None, :], mask=inside, other=0.0).to(tl.float32)
    else:
        row_bytes = lanes * (32 * BITS // 8)
        start = superblock * (16 * 32 * BITS // 8)
        if BITS == 4:
            byte = tl.load(data + row * row_bytes + start + i[None, :], mask=inside, other=0).to(tl.int32)
            value = ((byte >> (4 * half)) & 15) - 8
        else:
            start += half * 16 * tl.minimum(lanes - superblock * 16, 16)
            value = tl.load(data + row * row_bytes + start + i[None, :], mask=inside, other=0).to(tl.int32) - 128
        if WHOLE:
            # All superblocks have 16 lanes: byte i is of chunk i // 64 and lane i // 4 % 16.
            lane = superblock * 16 + tl.arange(0, 16)
            factor = tl.load(scale + row * lanes + lane[None, :], mask=there[:, None], other=0.0).to(tl.float32)
            wide = tl.broadcast_to(factor[:, None, :, None], (ROWS, 4, 16, 4))
            return value.to(tl.float32) * tl.reshape(wide, (ROWS, SPAN))
        else:
            factor = tl.load(scale + row * lanes + (column // 32)[None, :], mask=inside, other=0.0)
            return value.to(tl.float32) * factor.to(tl.float32)


@triton.jit
def _gate_function(gate, threshold, ACTIVATION: tl.constexpr):
    if ACTIVATION <= 1:
        value = tl.maximum(gate, 0.0)
    elif ACTIVATION == 2:
        value = gate / (1.0 + tl.exp(-gate))
    else:
        cube = gate * gate * gate * 0.044715
        value = gate / (1.0 + tl.exp((gate + cube) * -1.5957691216057308))
    return tl.where(tl.abs(value) > threshold, value, 0.0)


@triton.jit
def hot_neurons(
    x, gate, gate_scale, up, up_scale, down, down_scale, gate_bias, partial, counts,
    neurons, hidden, lanes, threshold,
    ROWS: tl.constexpr, BITS: tl.constexpr, ACTIVATION: tl.constexpr,
    GATED: tl.constexpr, BIASED: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """One program computes ROWS neurons for one token; those of other tokens find the rows in the device's cache.

    Writes what they add to the output to partial [programs, tokens, hidden], and how many of them are active to
    counts [programs, tokens].
    """
    token, tokens, program = tl.program_id(0), tl.num_programs(0), tl.program_id(1)
    rows = program * ROWS + tl.arange(0, ROWS)
    there = rows < neurons
    superblocks = (hidden + 2 * SPAN - 1) // (2 * SPAN)
    gated = tl.zeros((ROWS,), tl.float32)
    upped = tl.zeros((ROWS,), tl.float32)
    for piece in range(2 * superblocks):
        superblock, half = piece // 2, piece % 2
        column = _columns(superblock, half, lanes, hidden, BITS)
        part = tl.load(x + token * hidden + column, mask=column < hidden, other=0.0)[None, :]
        w = _weights(gate, gate_scale, rows, there, superblock, half, lanes, hidden, column, BITS, ROWS, WHOLE)
        gated += tl.sum(w * part, axis=1)
        if GATED:
            w = _weights(up, up_scale, rows, there, superblock, half, lanes, hidden, column, BITS, ROWS, WHOLE)
            upped += tl.sum(w * part, axis=1)
    if BIASED:
        gated += tl.load(gate_bias + rows, mask=there, other=0.0)
    value = tl.where(there, _gate_function(gated, threshold, ACTIVATION), 0.0)
    tl.store(counts + program * tokens + token, tl.sum((value != 0.0).to(tl.int32), axis=0))
    if GATED:
        if ACTIVATION == 0:
            upped = tl.maximum(upped, 0.0)
        value *= upped
    to = partial + (program * tokens + token) * hidden
    for piece in range(2 * superblocks):
        superblock, half = piece // 2, piece % 2
        column = _columns(superblock, half, lanes, hidden, BITS)
        w = _weights(down, down_scale, rows, there, superblock, half, lanes, hidden, column, BITS, ROWS, WHOLE)
        tl.store(to + column, tl.sum(w * value[:, None], axis=0), mask=column < hidden)


@triton.jit
def sum_partials(partial, counts, output, active, programs, hidden, COLUMNS: tl.constexpr, CHUNK: tl.constexpr):
    """Sum partial [programs, tokens, hidden] and counts [programs, tokens] in the order of programs."""
    token, tokens = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    fired = tl.zeros((CHUNK,), tl.int32)
    for start in range(0, programs, CHUNK):
        program = start + tl.arange(0, CHUNK)
        at = (program * tokens + token)[:, None] * hidden + column[None, :]
        mask = (program < programs)[:, None] & (column < hidden)[None, :]
        total += tl.sum(tl.load(partial + at, mask=mask, other=0.0), axis=0)
        fired += tl.load(counts + program * tokens + token, mask=program < programs, other=0)
    tl.store(output + token * hidden + column, total, mask=column < hidden)
    if tl.program_id(1) == 0:
        tl.store(active + token, tl.sum(fired, axis=0).to(tl.float32))

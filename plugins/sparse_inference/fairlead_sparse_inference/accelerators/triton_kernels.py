"""The hot neurons of a layer on a GPU: three kernels in Triton over weights as they are stored.

Rounded input -> gate, activation, up and down of a block of neurons, whose sums each program keeps apart -> the sum of
those in one order. Nothing is added atomically, so that the same input gives the same bits. Activations are rounded to
8 bits in groups of 32 as on the processor; sums are float32. Packed rows are read in the lane order of
`fairlead_kernels.packed`, a superblock of 16 lanes at once. The input is written in that order and the sums are turned
back from it, so that the kernel in between reads and writes in sequence: position p of a superblock's 512 is in half
p // 256 (lower and upper halves of 4-bit bytes; vectors 0 to 3 and 4 to 7 of 8 bits) at byte p % 256 of that half.

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
def round_input(x, rounded, hidden, lanes, positions, BITS: tl.constexpr, GROUPS: tl.constexpr):
    """Rounded [tokens, positions] = x [tokens, hidden] in integers of -127..127 times a scale for each 32 columns."""
    token = tl.program_id(1)
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    i = tl.arange(0, 32)
    there = group[:, None] < hidden // 32
    column = group[:, None] * 32 + i[None, :]
    value = tl.load(x + token * hidden + column, mask=there, other=0.0)
    largest = tl.max(tl.abs(value), axis=1)
    some = largest >= 1e-30
    safe = tl.where(some, largest, 1.0)
    inverse = tl.where(some, tl.div_rn(tl.full((GROUPS,), 127.0, tl.float32), safe), 0.0)
    scale = tl.where(some, tl.div_rn(safe, tl.full((GROUPS,), 127.0, tl.float32)), 0.0)
    integer = (value * inverse[:, None] + _ROUNDER) - _ROUNDER
    if BITS == 16:
        position = column
    else:
        superblock = group // 16
        width = 4 * tl.minimum(lanes - superblock * 16, 16)
        vector = i // 4
        half = vector % 2 if BITS == 4 else vector // 4
        chunk = vector // 2 if BITS == 4 else vector % 4
        start = superblock * (2 * SPAN) + group % 16 * 4
        position = start[:, None] + (half * SPAN + i % 4)[None, :] + width[:, None] * chunk[None, :]
    tl.store(rounded + token * positions + position, integer * scale[:, None], mask=there)


@triton.jit
def _columns(position, lanes, hidden, BITS: tl.constexpr):
    """The column of each position; `hidden` where there is none."""
    if BITS == 16:
        column = position
    else:
        superblock = position // (2 * SPAN)
        half = position // SPAN % 2
        i = position % SPAN
        # Bytes of a vector: four for each lane.
        width = 4 * tl.minimum(lanes - superblock * 16, 16)
        chunk = i // width
        vector = 2 * chunk + half if BITS == 4 else 4 * half + chunk
        column = (superblock * 16 + i % width // 4) * 32 + vector * 4 + i % 4
        column = tl.where(chunk < 4, column, hidden)
    return tl.minimum(column, hidden)


@triton.jit
def _weights(
    data, scale, rows, there, superblock, lanes, hidden, BITS: tl.constexpr, ROWS: tl.constexpr, WHOLE: tl.constexpr
):
    """Both halves of a superblock's weights, float32 [ROWS, SPAN] each; 0 where a row or a column is not there."""
    i = tl.arange(0, SPAN)[None, :]
    row = rows[:, None].to(tl.int64)
    known = there[:, None]
    if BITS == 16:
        at = superblock * (2 * SPAN) + i
        lower = known if WHOLE else known & (at < hidden)
        upper = known if WHOLE else known & (at + SPAN < hidden)
        low = tl.load(data + row * hidden + at, mask=lower, other=0.0).to(tl.float32)
        high = tl.load(data + row * hidden + at + SPAN, mask=upper, other=0.0).to(tl.float32)
    else:
        width = 4 * tl.minimum(lanes - superblock * 16, 16)
        if WHOLE:
            # All superblocks have 16 lanes: byte i is of chunk i // 64 and lane i // 4 % 16.
            inside = known
            lane = superblock * 16 + tl.arange(0, 16)
            found = tl.load(scale + row * lanes + lane[None, :], mask=known, other=0.0).to(tl.float32)
            factor = tl.reshape(tl.broadcast_to(found[:, None, :, None], (ROWS, 4, 16, 4)), (ROWS, SPAN))
        else:
            inside = known & (i < 4 * width)
            lane = superblock * 16 + i % width // 4
            factor = tl.load(scale + row * lanes + lane, mask=inside, other=0.0).to(tl.float32)
        start = row * (lanes * (32 * BITS // 8)) + superblock * (16 * 32 * BITS // 8) + i
        byte = tl.load(data + start, mask=inside, other=0).to(tl.int32)
        if BITS == 4:
            low = ((byte & 15) - 8).to(tl.float32) * factor
            high = ((byte >> 4) - 8).to(tl.float32) * factor
        else:
            low = (byte - 128).to(tl.float32) * factor
            byte = tl.load(data + start + 4 * width, mask=inside, other=0).to(tl.int32)
            high = (byte - 128).to(tl.float32) * factor
    return low, high


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
    neurons, hidden, lanes, positions, threshold,
    ROWS: tl.constexpr, BITS: tl.constexpr, ACTIVATION: tl.constexpr,
    GATED: tl.constexpr, BIASED: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """One program computes ROWS neurons for one token; those of other tokens find the rows in the device's cache.

    Writes what they add to the output to partial [programs, tokens, positions], and how many of them are active to
    counts [programs, tokens].
    """
    token, tokens, program = tl.program_id(0), tl.num_programs(0), tl.program_id(1)
    rows = program * ROWS + tl.arange(0, ROWS)
    there = rows < neurons
    i = tl.arange(0, SPAN)
    superblocks = positions // (2 * SPAN)
    gated = tl.zeros((ROWS,), tl.float32)
    upped = tl.zeros((ROWS,), tl.float32)
    for superblock in range(superblocks):
        at = x + token * positions + superblock * (2 * SPAN) + i
        lower, upper = tl.load(at)[None, :], tl.load(at + SPAN)[None, :]
        low, high = _weights(gate, gate_scale, rows, there, superblock, lanes, hidden, BITS, ROWS, WHOLE)
        gated += tl.sum(low * lower + high * upper, axis=1)
        if GATED:
            low, high = _weights(up, up_scale, rows, there, superblock, lanes, hidden, BITS, ROWS, WHOLE)
            upped += tl.sum(low * lower + high * upper, axis=1)
    if BIASED:
        gated += tl.load(gate_bias + rows, mask=there, other=0.0)
    value = tl.where(there, _gate_function(gated, threshold, ACTIVATION), 0.0)
    tl.store(counts + program * tokens + token, tl.sum((value != 0.0).to(tl.int32), axis=0))
    if GATED:
        if ACTIVATION == 0:
            upped = tl.maximum(upped, 0.0)
        value *= upped
    for superblock in range(superblocks):
        to = partial + (program * tokens + token) * positions + superblock * (2 * SPAN) + i
        low, high = _weights(down, down_scale, rows, there, superblock, lanes, hidden, BITS, ROWS, WHOLE)
        tl.store(to, tl.sum(low * value[:, None], axis=0))
        tl.store(to + SPAN, tl.sum(high * value[:, None], axis=0))


@triton.jit
def sum_partials(
    partial, counts, output, active, programs, hidden, lanes, positions,
    BITS: tl.constexpr, COLUMNS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Sum partial [programs, tokens, positions] and counts [programs, tokens] in the order of programs."""
    token, tokens = tl.program_id(0), tl.num_programs(0)
    position = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    fired = tl.zeros((CHUNK,), tl.int32)
    for start in range(0, programs, CHUNK):
        program = start + tl.arange(0, CHUNK)
        at = (program * tokens + token)[:, None] * positions + position[None, :]
        total += tl.sum(tl.load(partial + at, mask=(program < programs)[:, None], other=0.0), axis=0)
        fired += tl.load(counts + program * tokens + token, mask=program < programs, other=0)
    column = _columns(position, lanes, hidden, BITS)
    tl.store(output + token * hidden + column, total, mask=column < hidden)
    if tl.program_id(1) == 0:
        tl.store(active + token, tl.sum(fired, axis=0).to(tl.float32))

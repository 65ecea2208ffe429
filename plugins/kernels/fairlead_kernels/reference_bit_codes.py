"""Bit codes in NumPy: what the native kernels are tested against, and what runs without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vector_codes, reference_vectors

if TYPE_CHECKING:
    from fairlead_kernels.vector_bit_codes import BitCodes, Plan

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
STEPS = (0.0, 1.596, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
"""The best step of a uniform quantizer of normal numbers, in standard deviations (Max 1960), by bits."""


def segment_codes(o: F32, bits: int) -> U8:
    """Return codes [n, d] of 0..2^bits - 1 that point as nearly as possible in the rows' directions.

    Steps around the best one for normal numbers are tried; then single codes are moved by one where that helps.
    """
    deviation = np.sqrt(np.square(o, dtype=np.float64).mean(1, keepdims=True))
    usual = 1 / (STEPS[bits] * np.where(deviation > 0, deviation, 1))
    scales = [1.0] if bits == 1 else [1 + 0.07 * k for k in range(-5, 6)]
    tried = np.stack([_rounded(o, bits, usual * scale) for scale in scales])
    best = np.argmax(_quality(*_sums(tried, o, bits)), axis=0)
    codes = tried[best, np.arange(len(o))]
    if bits > 1:
        _adjust(codes, o, bits)
    return np.where(deviation > 0, codes, 2 ** (bits - 1)).astype(np.uint8)


def _rounded(o: F32, bits: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    most = 2**bits - 1
    return np.clip(np.floor(o * scale + most / 2 + 0.5), 0, most)


def _sums(codes: NDArray[np.float64], o: F32, bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    levels = codes - (2**bits - 1) / 2
    return (levels * o).sum(-1), np.square(levels).sum(-1)


def _quality(product: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
    return product * np.abs(product) / np.maximum(square, 1e-30)


def _adjust(codes: NDArray[np.float64], o: F32, bits: int) -> None:
    product, square = _sums(codes, o, bits)
    for i in range(o.shape[1]):
        level = codes[:, i] - (2**bits - 1) / 2
        wanted = np.where(product > 0, o[:, i] * square / np.where(product > 0, product, 1), level)
        moved = np.clip(codes[:, i] + np.where(wanted > level, 1, -1), 0, 2**bits - 1)
        step = moved - codes[:, i]
        then = product + step * o[:, i], square + 2 * step * level + step * step
        better = _quality(*then) > _quality(product, square)
        codes[:, i] = np.where(better, moved, codes[:, i])
        product, square = np.where(better, then[0], product), np.where(better, then[1], square)


def segment_fit(o: F32, codes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factors |o|^2 / <codes, o> and spreads |o| sqrt((1 - cos^2) / cos^2 / (d - 1)), [n] each."""
    square, product = np.square(o, dtype=np.float64).sum(1), (codes * o).sum(1)
    fits = (square > 0) & (product > 0)
    safe = np.where(fits, product, 1)
    cosine2 = np.minimum(np.where(fits, product**2 / np.maximum(square * np.square(codes).sum(1), 1e-30), 1), 1)
    spread = np.sqrt(square * (1 - cosine2) / cosine2 / max(o.shape[1] - 1, 1))
    return np.where(fits, square / safe, 0), np.where(fits, spread, 0)


def planes_of(bits: int) -> list[tuple[int, int]]:
    """The planes of codes of so many bits in rows, the uppermost first: (bits, shift)."""
    planes = []
    for plane in (4, 4, 2, 1):
        if bits >= plane:
            bits -= plane
            planes.append((plane, bits))
    return planes


def _chunks(d: int) -> int:
    return -(-d // 64)


def pack_rows(codes: U8, bits: int) -> U8:
    """Return the planes of codes [n, d] in chunks of 64: field j of byte k holds coordinate k + j * chunk bytes."""
    padded = np.zeros((len(codes), _chunks(codes.shape[1]), 64), np.uint8)
    padded.reshape(len(codes), -1)[:, : codes.shape[1]] = codes
    parts = []
    for plane, shift in planes_of(bits):
        fields = padded >> shift & (2**plane - 1)
        if plane == 1:
            parts.append(np.packbits(fields, axis=2, bitorder="little").reshape(len(codes), -1))
            continue
        split = fields.reshape(len(codes), -1, 8 // plane, 8 * plane)
        shifts = (np.arange(8 // plane) * plane)[:, None]
        parts.append((split.astype(np.uint32) << shifts).sum(2).astype(np.uint8).reshape(len(codes), -1))
    return np.concatenate([np.zeros((len(codes), 0), np.uint8), *parts], axis=1)


def unpack_rows(rows: U8, d: int, bits: int) -> NDArray[np.float64]:
    """Return codes [n, d] of packed planes."""
    codes, at = np.zeros((len(rows), 64 * _chunks(d))), 0
    for plane, shift in planes_of(bits):
        size = _chunks(d) * 8 * plane
        part = rows[:, at : at + size]
        at += size
        if plane == 1:
            fields = np.unpackbits(part, axis=1, bitorder="little")
        else:
            split = part.reshape(len(rows), -1, 1, 8 * plane)
            fields = split >> (np.arange(8 // plane, dtype=np.uint8) * plane)[:, None] & (2**plane - 1)
        codes += fields.reshape(len(rows), -1).astype(np.float64) * 2**shift
    return codes[:, :d]


def _half(values: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    return (values / unit).astype(np.float16).astype(np.float64) * unit


class ReferenceCoder:
    """What the extension's BitCoder does."""

    def __init__(self, codes: BitCodes) -> None:
        self.codes, self.plan, self.metric = codes, codes.plan, codes.space.metric
        self.weight = 2.0 if self.metric == "l2" else 1.0

    def rotate(self, vectors: U8, out: F32) -> None:
        """Rotated vectors, the product with the mean last."""
        space = self.codes.space
        x = reference_vectors.as_floats(vectors.view(space.dtype), space.element, space.dim)
        if self.metric == "cosine":
            norms = np.linalg.norm(x, axis=1, keepdims=True)
            x = (x / np.where(norms > 0, norms, 1)).astype(np.float32)
        rotated = reference_vector_codes.rotate(self.codes.rotation, x)
        # A plan without a rest has the mixed coordinates for its leading ones.
        out[:, :-1], out[:, -1] = rotated, x @ self.codes.rotation.mean

    def encode(self, rotated: F32, centroid: F32, first: int, blocks: U8, rows: U8) -> None:
        """Put codes at positions [first, first + n)."""
        plan, lead, unit = self.plan, self.plan.lead, self.codes.unit
        o, c = rotated[:, :-1] - centroid[:-1], centroid[:-1].astype(np.float64)
        codes = segment_codes(o[:, :lead], plan.lead_bits)
        shift = plan.lead_bits - plan.scan_bits
        own = 0.5 * self.weight * np.square(o, dtype=np.float64).sum(1)
        if self.metric == "dot":
            own = -rotated[:, -1].astype(np.float64) - o @ c
        rest_norm = np.linalg.norm(o[:, lead:], axis=1)
        scanned = (codes >> shift) - (2**plan.scan_bits - 1) / 2
        factor, spread = segment_fit(o[:, :lead], scanned)
        factor = _half(self.weight * factor, unit)
        base = (own + factor * (scanned @ c[:lead])).astype(np.float32)
        scan_spread = self.weight * np.hypot(spread, self.codes.balance * self.codes.unseen * rest_norm)
        self._put_blocks(codes >> shift, first, blocks, (base, factor / unit, scan_spread / unit))
        if plan.row_bytes == 0:
            return
        whole = codes - (2**plan.lead_bits - 1) / 2
        factor, spread = segment_fit(o[:, :lead], whole)
        factors = [_half(self.weight * factor, unit), np.zeros(len(o))]
        fine = own + factors[0] * (whole @ c[:lead])
        rest_spread, rest = self.codes.unseen * rest_norm, np.zeros((len(o), 0), np.uint8)
        if plan.rest_bits:
            rest = segment_codes(o[:, lead:], plan.rest_bits)
            centred = rest - (2**plan.rest_bits - 1) / 2
            factor, rest_spread = segment_fit(o[:, lead:], centred)
            factors[1] = _half(self.weight * factor, unit)
            fine = fine + factors[1] * (centred @ c[lead:])
        total = self.weight * np.hypot(spread, self.codes.balance * rest_spread)
        numbers = np.stack([(fine - base) / unit**2, factors[0] / unit, factors[1] / unit, total / unit], axis=1)
        into = rows[first : first + len(o)]
        into[:, :8] = numbers.astype(np.float16).view(np.uint8)
        into[:, 8:] = np.concatenate([pack_rows(codes, shift), pack_rows(rest, plan.rest_bits)], axis=1)

    def _put_blocks(self, codes: U8, first: int, blocks: U8, numbers: tuple[Any, ...]) -> None:
        plan = self.plan
        words, fields = -(-plan.lead * plan.scan_bits // 32), 8 // plan.scan_bits
        padded = np.zeros((len(codes), words * fields * 4), np.uint8)
        padded[:, : plan.lead] = codes
        split = padded.reshape(len(codes), words, fields, 4).astype(np.uint32)
        packed = (split << (np.arange(fields) * plan.scan_bits)[:, None]).sum(2).astype(np.uint8)
        kinds = ((np.float32, 0), (np.float16, 64), (np.float16, 96))
        for i, word in enumerate(packed):
            block, lane = blocks[(first + i) // 16], (first + i) % 16
            block[: 64 * words].reshape(words, 16, 4)[:, lane] = word
            for values, (dtype, at) in zip(numbers, kinds, strict=True):
                size = np.dtype(dtype).itemsize
                block[64 * words + at :][lane * size : (lane + 1) * size] = np.array([values[i]], dtype).view(np.uint8)

    def scan(
        self,
        query: F32,
        centroid: F32,
        scales: tuple[float, float],
        blocks: U8,
        rows: U8,
        n: int,
        limit: float,
        refined: bool,
        positions: NDArray[np.uint32],
        estimates: F32,
        lowers: F32,
    ) -> int:
        """Estimates of those whose lower bound is below the limit; returns how many."""
        plan, unit = self.plan, self.codes.unit
        codes, base, factor, spread = unpack_blocks(blocks[: -(-n // 16)], plan)
        q = [_query(query[: plan.lead]), _query(query[plan.lead : -1])]
        add, length = self._list(query, centroid)
        slack, refined_slack = (scale * length for scale in scales)
        centred = codes - (2**plan.scan_bits - 1) / 2
        found = base + add - factor * unit * (centred @ q[0])
        bound = found - slack * spread
        passed = np.flatnonzero(bound[:n] < limit)
        found, bound = found[passed], bound[passed]
        if refined and plan.row_bytes:
            row, shift = rows[passed], plan.lead_bits - plan.scan_bits
            numbers = np.ascontiguousarray(row[:, :8]).view(np.float16).astype(np.float64)
            low = _chunks(plan.lead) * 8 * shift
            lead = codes[passed] * 2**shift + unpack_rows(row[:, 8:], plan.lead, shift) - (2**plan.lead_bits - 1) / 2
            rest = unpack_rows(row[:, 8 + low :], plan.rest, plan.rest_bits) - (2**plan.rest_bits - 1) / 2
            product = numbers[:, 1] * (lead @ q[0]) + (numbers[:, 2] * (rest @ q[1]) if plan.rest_bits else 0)
            found = base[passed] + numbers[:, 0] * unit**2 + add - unit * product
            bound = found - refined_slack * numbers[:, 3]
        positions[: len(passed)], estimates[: len(passed)], lowers[: len(passed)] = passed, found, bound
        return len(passed)

    def _list(self, query: F32, centroid: F32) -> tuple[float, float]:
        lead = self.plan.lead
        away = (query[:-1] - centroid[:-1]).astype(np.float64)
        lengths = np.linalg.norm(away[:lead]), np.linalg.norm(away[lead:])
        length = max(lengths[0], lengths[1] / self.codes.balance) * self.codes.unit
        if self.metric == "dot":
            mean = self.codes.rotation.mean.astype(np.float64)
            return float(mean @ mean - query[-1] - centroid[:-1] @ query[:-1]), float(length)
        return float(0.5 * self.weight * (lengths[0] ** 2 + lengths[1] ** 2)), float(length)


def _query(y: F32) -> NDArray[np.float64]:
    """A query's coordinates rounded to 8 bits."""
    largest = float(np.abs(y).max(initial=0))
    step = np.float32(largest / 127) if largest > 0 else np.float32(1)
    return np.rint(np.clip(y * (np.float32(1) / step), -127, 127)).astype(np.float64) * float(step)


def unpack_blocks(blocks: U8, plan: Plan) -> tuple[NDArray[np.float64], ...]:
    """Return codes [n, lead], and base, factor and spread [n] as float64, of all places of some blocks."""
    words, bits = -(-plan.lead * plan.scan_bits // 32), plan.scan_bits
    packed = blocks[:, : 64 * words].reshape(len(blocks), words, 16, 1, 4)
    fields = packed >> (np.arange(8 // bits, dtype=np.uint8) * bits)[:, None] & (2**bits - 1)
    codes = fields.transpose(0, 2, 1, 3, 4).reshape(16 * len(blocks), -1)[:, : plan.lead]
    numbers = np.ascontiguousarray(blocks[:, 64 * words :])
    base = np.ascontiguousarray(numbers[:, :64]).view(np.float32).ravel()
    halves = [np.ascontiguousarray(numbers[:, at : at + 32]).view(np.float16).ravel() for at in (64, 96)]
    return codes.astype(np.float64), base.astype(np.float64), *(half.astype(np.float64) for half in halves)

"""Attention over unified pages on a processor, and what looking after them costs: ``python -m benchmarks.elastic_cpu``.

Decode and prompt attention of one layer against torch's `scaled_dot_product_attention` over contiguous float32 keys
and values, which knows no pages and no scores; and the bookkeeping of compressed pages (LeanKV) in the shape of an 8B
Llama: 32 layers of 8 KV heads of 128 elements. Its share is that of the time that the same step takes: all dense
products of one such layer in bfloat16, measured, times 32, with the attention over its pages. One thread computes, and
times are its processor time: what others do on the machine disturbs little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, row

if TYPE_CHECKING:
    from fairlead_elastic_serving.kernels.tiers import Tiers

KV_HEADS, GROUP, PAGE_BYTES = 8, 4, 8192
#: By name: bits of the tiers' keys and values, and which shares of the tokens stand in them.
MIXES = {
    "float32": ("K32V32", "K4V2", (1.0, 0.0)),
    "float16": ("K16V16", "K4V2", (1.0, 0.0)),
    "all K8V4": ("K8V4", "K4V2", (1.0, 0.0)),
    "25 % K8V4, 35 % K4V2, 40 % pruned": ("K8V4", "K4V2", (0.25, 0.35)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 1 where the native kernels or torch are not installed."""
    options = parse("elastic_cpu", __doc__, repeats=5, quick=1, arguments=arguments)
    if find_spec("torch") is None:
        print("torch is not installed: pip install 'fairlead-elastic-serving[torch]'", file=sys.stderr)
        return 0 if options.quick else 1
    from fairlead_elastic_serving.kernels import native_backend

    if reason := native_backend.why_not():
        print(f"not measured: {reason}", file=sys.stderr)
        return 0 if options.quick else 1
    import torch

    import fairlead_kernels
    from benchmarks.elastic_books import bookkeeping

    torch.set_num_threads(1)
    fairlead_kernels.set_threads(1)
    torch.manual_seed(options.seed)
    rows = [*decoding(options), *prompts(options), *bookkeeping(options)]
    conditions = {"threads": 1, "isa": fairlead_kernels.backend().isa, "read_bandwidth_bytes_per_s": read_bandwidth()}
    options.finish(conditions, rows)
    return 0


def seconds(call: Callable[[], object], least: float = 0.2) -> float:
    """Processor seconds of this thread of the fastest of several calls, after one that is not counted."""
    call()
    best, end = float("inf"), time.thread_time() + least
    while time.thread_time() < end:
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best


def read_bandwidth() -> float:
    """Bytes a second that one thread reads from memory."""
    import torch

    numbers = torch.ones(32 << 20)
    return numbers.nbytes / seconds(numbers.sum)


@dataclass
class Stored:
    """A layer's pages of some sequences, filled with normal numbers, and what `attend` takes after them."""

    tiers: Tiers
    pages: np.ndarray
    tables: np.ndarray
    rows: np.ndarray
    counts: np.ndarray

    @property
    def bytes(self) -> int:
        """Of keys and values with their scales and zero points."""
        layouts = (self.tiers.high, self.tiers.low)
        of_token = [one.format.token_bytes(one.head_dim, bookkeeping=False) for one in layouts]
        return int((self.counts.sum(axis=0) * of_token).sum())


def stored(mix: str, batch: int, context: int, head_dim: int, seed: int) -> Stored:
    """Pages at random places that hold sequences' keys and values."""
    from benchmarks.elastic_books import tables_of
    from fairlead_elastic_serving.arena.formats import KVFormat
    from fairlead_elastic_serving.kernels import native_backend
    from fairlead_elastic_serving.kernels.tiers import Tiers

    high, low, shares = MIXES[mix]
    tiers = Tiers.of(KVFormat.parse(high), KVFormat.parse(low), head_dim, PAGE_BYTES)
    random = np.random.default_rng(seed)
    counts = np.tile(np.rint(context * np.array(shares)).astype(np.int32), (batch * KV_HEADS, 1))
    tables, number = tables_of(tiers, counts, random)
    pages = np.zeros((number, PAGE_BYTES), np.uint8)
    rows = np.arange(len(counts), dtype=np.int32)
    for tier in (0, 1):
        for first in range(0, int(counts[0, tier]), 256):
            slots = np.arange(first, min(first + 256, int(counts[0, tier])), dtype=np.int32)
            shape = (len(slots), len(rows))
            vectors = random.standard_normal((*shape, head_dim), np.float32)
            places = np.broadcast_to(rows, shape).copy(), np.repeat(slots[:, None], len(rows), axis=1)
            native_backend.write(
                pages, tiers, tier, tables, *places, vectors, vectors, np.ones(shape, np.float32), slots
            )
    return Stored(tiers, pages, tables, rows.reshape(batch, KV_HEADS), counts)


def decoding(options: Options) -> list[Row]:
    """Attention of one query a sequence, scores taken in where tokens are compressed."""
    import torch
    import torch.nn.functional as F

    from fairlead_elastic_serving.kernels import native_backend

    rows = []
    shapes = [(64, 1, 1024), (128, 1, 1024), (128, 1, 4096), (128, 8, 1024), (128, 8, 4096)]
    for head_dim, batch, context in shapes[1:2] if options.quick else shapes:
        peer_in = [torch.randn(batch, KV_HEADS, context, head_dim) for _ in "kv"]
        query = torch.randn(batch, KV_HEADS * GROUP, 1, head_dim)
        torchs = partial(F.scaled_dot_product_attention, query, *peer_in, enable_gqa=True)
        peer = [seconds(torchs) for _ in range(options.repeats)]
        for mix in MIXES:
            it = stored(mix, batch, context, head_dim, options.seed)
            queries = query[:, :, 0].contiguous().numpy()
            now = None if mix.startswith("float") else np.full(batch, context, np.int32)
            given = (queries, it.pages, it.tiers, it.tables, it.rows, it.counts, head_dim**-0.5)
            ours = [seconds(partial(native_backend.attend, *given, now=now)) for _ in range(options.repeats)]
            note = f"peer: torch, contiguous float32; {it.bytes / sorted(ours)[len(ours) // 2] / 1e9:.1f} GB/s of pages"
            case = f"batch {batch}, context {context}, {KV_HEADS * GROUP}/{KV_HEADS} heads of {head_dim}, {mix}"
            rows.append(_row(case, "decode attention of one layer", ours, peer, note))
    return rows


def prompts(options: Options) -> list[Row]:
    """Causal attention of one prompt."""
    import torch
    import torch.nn.functional as F

    from fairlead_elastic_serving.kernels import native_backend

    rows = []
    for head_dim, tokens in [(128, 512)] if options.quick else [(64, 512), (64, 2048), (128, 512), (128, 2048)]:
        query = torch.randn(1, KV_HEADS * GROUP, tokens, head_dim)
        both = [torch.randn(1, KV_HEADS, tokens, head_dim) for _ in "kv"]
        torchs = partial(F.scaled_dot_product_attention, query, *both, is_causal=True, enable_gqa=True)
        peer = [seconds(torchs) for _ in range(options.repeats)]
        for mix in ("float32", "float16"):
            it = stored(mix, 1, tokens, head_dim, options.seed)
            queries = query[0].transpose(0, 1).contiguous().numpy()
            starts, before = np.array([0, tokens], np.int32), np.zeros(1, np.int32)
            given = (queries, starts, before, it.pages, it.tiers, it.tables, it.rows, head_dim**-0.5)
            ours = [seconds(partial(native_backend.attend_chunks, *given)) for _ in range(options.repeats)]
            work = 2.0 * tokens * (tokens + 1) * head_dim * KV_HEADS * GROUP
            note = f"peer: torch, contiguous float32; {work / sorted(ours)[len(ours) // 2] / 1e9:.0f} GFLOP/s"
            case = f"prompt of {tokens}, {KV_HEADS * GROUP}/{KV_HEADS} heads of {head_dim}, {mix}"
            rows.append(_row(case, "prompt attention of one layer", ours, peer, note))
    return rows


def _row(case: str, metric: str, ours: list[float], peer: list[float], note: str) -> Row:
    made = row(case, metric, "ms", [1e3 * one for one in ours], [1e3 * one for one in peer], note=note)
    print(f"{case}: {made.ours:.2f} ms, torch {made.peer:.2f} ms ({note})", flush=True)
    return made


if __name__ == "__main__":
    raise SystemExit(main())

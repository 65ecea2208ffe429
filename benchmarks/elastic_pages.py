"""Our side of `elastic_kernels`: pages at random places, filled with random codes, and what is done with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.elastic_device import Device
from benchmarks.options import Options
from benchmarks.results_file import Row, row
from fairlead_elastic_serving.arena.allocation import Ring, fill
from fairlead_elastic_serving.arena.formats import K4V2, K8V4, K16V16, PageLayout
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from fairlead_elastic_serving.kernels.triton_backend.allocation import DeviceRings
from fairlead_elastic_serving.kernels.triton_backend.attention import Tuning, attend
from fairlead_elastic_serving.kernels.triton_backend.scores import update_scores
from fairlead_elastic_serving.kernels.triton_backend.write import write

if TYPE_CHECKING:
    from benchmarks.elastic_kernels import Shape

HEAD_DIM, PAGE_BYTES = 128, 8192
MIXED = Tiers.of(K8V4, K4V2, HEAD_DIM, PAGE_BYTES)
PLAIN = Tiers.of(K16V16, K16V16, HEAD_DIM, PAGE_BYTES)
#: The cuts that are tried: tokens at once, warps, stages; then programs.
CUTS = ((64, 4, 3), (64, 4, 4), (64, 4, 2), (64, 8, 3), (128, 4, 3), (128, 8, 3), (32, 4, 4), (64, 2, 4), (32, 2, 4))
PROGRAMS = (264, 528, 1056, 2112)


def token_counts(shape: Shape, mix: str, layers: int, seed: int) -> np.ndarray:
    """Tokens in both tiers of each row [layers * batch * kv_heads, 2]: a head keeps more or less than the mix says."""
    from benchmarks.elastic_kernels import MIXES, UNCOMPRESSED

    shares = np.array((1.0, 0.0) if mix == UNCOMPRESSED else MIXES[mix])
    rows = layers * shape.batch * shape.kv_heads
    uneven = np.random.default_rng(seed).uniform(0.5, 1.5, (rows, 2)) if shares.sum() < 1 else np.ones((rows, 2))
    return np.rint(shape.context * shares * uneven).astype(np.int32)


def tables_of(tiers: Tiers, counts: np.ndarray, seed: int) -> tuple[np.ndarray, int, np.ndarray]:
    """Page tables over pages in random order: int32 [rows, width], the number of pages, and which are low ones."""
    needed = tiers.pages_for(counts)
    order = np.random.default_rng(seed).permutation(int(needed.sum())).astype(np.int32)
    tables = np.zeros((len(counts), int(needed.sum(axis=1).max())), np.int32)
    high = int(needed[:, HIGH].sum())
    rows, none = np.arange(len(counts)), np.zeros(len(counts), np.int64)
    fill(tables, rows, none, needed[:, HIGH].astype(np.int32), order[:high], from_right=False)
    fill(tables, rows, none, needed[:, LOW].astype(np.int32), order[high:], from_right=True)
    return tables, len(order), order[high:]


def random_pages(device: Device, tiers: Tiers, number: int, low: np.ndarray) -> torch.Tensor:
    """Pages of random codes with scales and zero points as vectors of ordinary size have them."""
    if tiers is PLAIN:
        pages = torch.empty((number, PAGE_BYTES // 2), dtype=torch.float16, device=device.torch)
        return pages.normal_(generator=device.random).view(torch.uint8)
    pages = torch.empty((number, PAGE_BYTES), dtype=torch.uint8, device=device.torch)
    pages.random_(0, 256, generator=device.random)
    is_low = torch.zeros(number, dtype=torch.bool, device=device.torch)
    is_low[torch.from_numpy(low).to(device.torch).long()] = True
    for mask, layout in ((~is_low, tiers.high), (is_low, tiers.low)):
        for start, bits in ((layout.key_meta, layout.format.key_bits), (layout.value_meta, layout.format.value_bits)):
            _set_meta(pages, mask, layout, start, bits)
    return pages


def _set_meta(pages: torch.Tensor, mask: torch.Tensor, layout: PageLayout, start: int, bits: int) -> None:
    meta = pages.view(torch.float16)[:, start // 2 : start // 2 + 2 * layout.tokens]
    usual = torch.tensor([6.0 / (2**bits - 1), -3.0], dtype=torch.float16, device=pages.device)
    meta[mask] = usual.repeat(layout.tokens)


def attention(
    device: Device, shape: Shape, mix: str, layers: int, tuning: dict[str, Any]
) -> tuple[Callable[[], None], float]:
    """Return captured attention of some layers, and the bytes of keys, values and metadata that one layer reads."""
    from benchmarks.elastic_kernels import UNCOMPRESSED

    tiers = PLAIN if mix == UNCOMPRESSED else MIXED
    counts = token_counts(shape, mix, layers, device.seed)
    tables, number, low = tables_of(tiers, counts, device.seed)
    pages = random_pages(device, tiers, number, low)
    work = attention_work(device, shape, tiers, pages, tables, counts, layers, tuning.get(_kind(tiers)))
    output = work()[0][0]
    if not bool(torch.isfinite(output.float()).all()):
        raise RuntimeError(f"{shape.case}, {mix}: the kernel gave numbers that are not finite")
    sizes = [tiers.layout(tier).format.token_bytes(HEAD_DIM, bookkeeping=False) for tier in (HIGH, LOW)]
    return device.captured(work), float((counts @ sizes).sum()) / layers


def attention_work(
    device: Device,
    shape: Shape,
    tiers: Tiers,
    pages: torch.Tensor,
    tables: np.ndarray,
    counts: np.ndarray,
    layers: int,
    tuning: Tuning | None,
    logits: torch.Tensor | None = None,
) -> Callable[[], list[Any]]:
    """Return the attention of one query per sequence in each layer."""
    kind = torch.bfloat16 if device.is_cuda else torch.float32
    queries = torch.randn(
        (shape.batch, shape.query_heads, HEAD_DIM), dtype=kind, device=device.torch, generator=device.random
    )
    rows = torch.arange(len(counts), dtype=torch.int32, device=device.torch).view(layers, shape.batch, shape.kv_heads)
    on_device = [torch.from_numpy(array).to(device.torch) for array in (tables, counts)]
    longest = (int(counts[:, HIGH].max()), int(counts[:, LOW].max()))
    return lambda: [
        attend(queries, pages, tiers, on_device[0], rows[layer], on_device[1], HEAD_DIM**-0.5, longest=longest,
               logits=logits, tuning=tuning)
        for layer in range(layers)
    ]  # fmt: skip


def tuned(device: Device) -> dict[str, Tuning]:
    """Try cuts on a middling shape and return the fastest for each kind of pages."""
    from benchmarks.elastic_kernels import MIXES, UNCOMPRESSED, Shape

    shape, layers, best = Shape(16, 4096), 4, {}
    for tiers, mix in ((MIXED, next(iter(MIXES))), (PLAIN, UNCOMPRESSED)):
        counts = token_counts(shape, mix, layers, device.seed)
        tables, number, low = tables_of(tiers, counts, device.seed)
        pages = random_pages(device, tiers, number, low)

        def took(tuning: Tuning, data: tuple[Any, ...] = (tiers, pages, tables, counts)) -> float:
            try:
                work = device.captured(attention_work(device, shape, *data, layers, tuning))
                return device.microseconds(work) / layers
            except Exception as error:  # a cut that the device has no room for is no candidate
                print(f"  {tuning}: {type(error).__name__}: {str(error)[:200]}", flush=True)
                return float("inf")

        times = {Tuning(block, warps, stages): 0.0 for block, warps, stages in CUTS}
        times = {tuning: took(tuning) for tuning in times}
        first = min(times, key=times.__getitem__)
        times |= {tuning: took(tuning) for tuning in (replace(first, programs=programs) for programs in PROGRAMS)}
        best[_kind(tiers)] = min(times, key=times.__getitem__)
        for tuning, time_us in times.items():
            print(f"  {_kind(tiers)}, {shape.case}: {time_us:.1f} us with {tuning}", flush=True)
        del pages
        device.tidy()
    return best


def scoring(options: Options, device: Device, shape: Shape, tuning: dict[str, Tuning]) -> list[Row]:
    """What the tokens' significance costs: attention that also updates all scores, against attention alone."""
    from benchmarks.elastic_kernels import MIXES

    mix, layers = next(iter(MIXES)), 4 if device.is_cuda else 1
    counts = token_counts(shape, mix, layers, device.seed)
    tables, number, low = tables_of(MIXED, counts, device.seed)
    pages = random_pages(device, MIXED, number, low)
    longest = (int(counts[:, HIGH].max()), int(counts[:, LOW].max()))
    cut = tuning.get(_kind(MIXED))
    alone = attention_work(device, shape, MIXED, pages, tables, counts, layers, cut)
    logits = torch.empty((shape.batch, shape.query_heads, sum(longest)), device=device.torch)
    with_logits = attention_work(device, shape, MIXED, pages, tables, counts, layers, cut, logits)
    now = torch.full((shape.batch,), shape.context, dtype=torch.int32, device=device.torch)
    rows = torch.arange(len(counts), dtype=torch.int32, device=device.torch).view(layers, shape.batch, shape.kv_heads)
    on_device = [torch.from_numpy(array).to(device.torch) for array in (tables, counts)]
    _, totals = with_logits()[0]

    def scored() -> None:
        with_logits()
        for layer in range(layers):
            where = (on_device[0], rows[layer], on_device[1])
            update_scores(pages, MIXED, *where, logits, totals, now, longest=longest)

    works = [device.captured(work) for work in (alone, scored)]
    times = [[device.microseconds(work) / layers for work in works] for _ in range(options.repeats)]
    plain, both = zip(*times, strict=True)
    note = "ours: attention, its logits stored, all scores updated; peer: the same attention alone"
    return [row(f"{shape.case}, {mix}", "attention with scores, of one layer", "us", both, plain, note=note)]


def writing(options: Options, device: Device, bandwidth: float, tokens: int) -> list[Row]:
    """Quantize-and-write of a prompt's keys and values, all to the high and all to the low tier."""
    found = []
    kv_heads = 8 if device.is_cuda else 2
    for tier, name in ((HIGH, str(K8V4)), (LOW, str(K4V2))):
        counts = np.zeros((kv_heads, 2), np.int32)
        counts[:, tier] = tokens
        tables, number, _ = tables_of(MIXED, counts, device.seed)
        pages = torch.zeros((number, PAGE_BYTES), dtype=torch.uint8, device=device.torch)
        kind = torch.bfloat16 if device.is_cuda else torch.float32
        size = (tokens, kv_heads)
        keys, values = (
            torch.randn((*size, HEAD_DIM), dtype=kind, device=device.torch, generator=device.random) for _ in "kv"
        )
        number_of = torch.arange(tokens, dtype=torch.int32, device=device.torch)
        arguments = (
            torch.from_numpy(tables).to(device.torch),
            torch.arange(kv_heads, dtype=torch.int32, device=device.torch).repeat(tokens, 1),
            number_of[:, None].repeat(1, kv_heads),
            keys,
            values,
            torch.rand(size, device=device.torch, generator=device.random),
            number_of,
        )
        work = device.captured(lambda pages=pages, tier=tier, rest=arguments: write(pages, MIXED, tier, *rest))
        took = [device.microseconds(work) for _ in range(options.repeats)]
        moved = tokens * kv_heads * (4 * HEAD_DIM + MIXED.layout(tier).format.token_bytes(HEAD_DIM))
        speed = moved / min(took) * 1e6
        note = f"{speed / 1e9:.0f} GB/s read and written, {speed / bandwidth:.0%} of a copy's"
        found.append(row(f"{tokens} tokens to {name}", "quantize and write of one layer", "us", took, note=note))
    return found


def allocation(options: Options, device: Device, requests: int, kv_heads: int) -> list[Row]:
    """Pages for one layer of many requests: on the device, by NumPy on the host, and one row after another."""
    random = np.random.default_rng(options.seed)
    asked = requests * kv_heads
    counts = random.integers(0, 4, asked).astype(np.int32)
    total = int(counts.sum())
    order = random.permutation(2 * total).astype(np.int32)
    rows, first = np.arange(asked, dtype=np.int32), np.zeros(asked, np.int32)
    tables = np.zeros((asked, 8), np.int32)
    own, borrowed = Ring(2 * total, order[: total // 2]), Ring(2 * total, order[total // 2 :])
    is_borrowed = np.isin(np.arange(2 * total), order[total // 2 :])
    rings = DeviceRings.of(own, borrowed, is_borrowed, device.torch)
    on_device = [torch.from_numpy(array.copy()).to(device.torch) for array in (tables, rows, first, counts)]
    start = rings.state.clone()

    def on_the_device() -> None:
        rings.state.copy_(start)
        rings.allocate(*on_device, from_right=False)

    def by_numpy() -> None:
        own, borrowed = Ring(2 * total, order[: total // 2]), Ring(2 * total, order[total // 2 :])
        began = time.perf_counter()
        pages = np.concatenate([own.take(own.count), borrowed.take(total - total // 2)])
        fill(tables, rows, first, counts, pages, from_right=False)
        numpy_times.append((time.perf_counter() - began) * 1e6)

    def one_by_one() -> None:
        free, wanted = order.tolist(), counts.tolist()
        began = time.perf_counter()
        lists: list[list[int]] = [[free.pop() for _ in range(count)] for count in wanted]
        loop_times.append((time.perf_counter() - began) * 1e6)
        assert len(lists) == asked

    work = device.captured(on_the_device)
    device_times, numpy_times, loop_times = [], [], []
    for _ in range(max(3, options.repeats)):
        device_times.append(device.microseconds(work))
        by_numpy()
        one_by_one()
    by_numpy()
    if not np.array_equal(on_device[0].cpu().numpy(), tables):
        raise RuntimeError("the device and the host handed out different pages")
    case = f"{requests} requests, {kv_heads} KV heads, {total} pages"
    note = "a CUDA graph of four kernels and the copy that sets the rings back; the same pages as on the host"
    return [
        row(
            f"{case}, against NumPy", "page allocation", "us", device_times, numpy_times[: len(device_times)], note=note
        ),
        row(f"{case}, against a Python loop", "page allocation", "us", device_times, loop_times, note=note),
    ]


def _kind(tiers: Tiers) -> str:
    return f"{tiers.high.format}/{tiers.low.format}"

"""Kernels for keys and values of mixed precision on a GPU: ``python -m benchmarks.elastic_kernels``.

Decode attention over unified pages against torch's own attention over contiguous bfloat16 keys and values (the
fastest of its backends, FlashAttention among them); quantize-and-write; page allocation for thousands of rows against
the host. The shape is a layer of an 8B Llama: 32 query heads, 8 KV heads, head dimension 128. So many layers are
captured into one CUDA graph, each with memory of its own, that no cache holds them; times are one layer's.

Without a CUDA device only ``--quick`` runs, at tiny sizes in Triton's interpreter: it shows that the code works.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row

if TYPE_CHECKING:
    from benchmarks.elastic_device import Device
    from fairlead_elastic_serving.kernels.triton_backend.attention import Tuning

QUERY_HEADS, KV_HEADS, HEAD_DIM, PAGE_BYTES = 32, 8, 128, 8192
BATCHES, CONTEXTS = (1, 4, 16, 64), (1024, 4096, 16384)
REQUESTS = 4096
#: Shares of all tokens in the high and in the low tier. The rest is pruned.
MIXES = {"25 % K8V4, 35 % K4V2, 40 % pruned": (0.25, 0.35), "all K8V4": (1.0, 0.0), "all K4V2": (0.0, 1.0)}
UNCOMPRESSED = "all K16V16"
#: The captured layers' bytes are at least this many: several times the largest cache.
COLD_BYTES, MOST_LAYERS = 400e6, 320


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured: sizes and shares."""

    batch: int
    context: int
    query_heads: int = QUERY_HEADS
    kv_heads: int = KV_HEADS

    @property
    def case(self) -> str:
        return f"batch {self.batch}, context {self.context}"

    @property
    def plain_bytes(self) -> int:
        """Bytes of a layer's keys and values as bfloat16."""
        return self.batch * self.context * self.kv_heads * HEAD_DIM * 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 1 where what it needs is not installed, nothing where there is no GPU."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--no-tuning", action="store_true", help="take the kernels' defaults, whatever the device")
    options = parse("elastic_kernels", __doc__, repeats=7, quick=1, arguments=arguments, more=more)
    if find_spec("torch") is None or find_spec("triton") is None:
        print("torch and triton are not installed: pip install 'fairlead-elastic-serving[triton]'", file=sys.stderr)
        return 0 if options.quick else 1
    import torch

    if not torch.cuda.is_available():
        if not options.quick:
            print("not measured, no CUDA device; the result file of an earlier run stays", file=sys.stderr)
            return 0
        os.environ["TRITON_INTERPRET"] = "1"
    from benchmarks.elastic_device import Device

    measure(options, Device(options.seed))
    return 0


def measure(options: Options, device: Device) -> None:
    """Measure everything on a device."""
    from benchmarks import elastic_pages

    quick = not device.is_cuda
    shapes = [Shape(batch, context) for batch in BATCHES for context in CONTEXTS]
    if options.quick:
        shapes = [Shape(2, 96, 4, 2)] if quick else [Shape(4, 4096)]
    bandwidth = device.bandwidth()
    print(f"{device.name}: {bandwidth / 1e9:.0f} GB/s read and written by a copy", flush=True)
    tuning = {} if quick or options.more.no_tuning else elastic_pages.tuned(device)
    rows: list[Row] = []
    parts = {shape.case: partial(attention, options, device, shape, bandwidth, tuning) for shape in shapes}
    middle = shapes[0] if quick else Shape(16, 4096)
    parts["scores"] = partial(elastic_pages.scoring, options, device, middle, tuning)
    parts["quantize and write"] = partial(elastic_pages.writing, options, device, bandwidth, 64 if quick else 8192)
    requests = 32 if quick else REQUESTS
    parts["page allocation"] = partial(elastic_pages.allocation, options, device, requests, KV_HEADS)
    for case, part in parts.items():
        try:
            rows += part()
        except Exception as error:  # of one case; the others keep their numbers
            traceback.print_exc()
            rows.append(not_measured(case, "time", "us", "a measurement", f"{type(error).__name__}: {error}"[:300]))
        device.tidy()
    conditions = {**device.conditions(), "copy_bandwidth_bytes_per_s": bandwidth, "tuning": str(tuning)}
    options.finish(conditions, rows)


def attention(options: Options, device: Device, shape: Shape, bandwidth: float, tuning: dict[str, Tuning]) -> list[Row]:
    """One row for each mix of one shape."""
    from benchmarks import elastic_pages
    from benchmarks.elastic_peer import fastest

    layers = max(1, min(MOST_LAYERS, int(COLD_BYTES / (0.3 * shape.plain_bytes)) + 1)) if device.is_cuda else 1
    plain_layers = max(1, min(layers, int(COLD_BYTES / shape.plain_bytes) + 1))
    peer_name, peer = fastest(device, shape, plain_layers)
    rows = []
    for mix in (*MIXES, UNCOMPRESSED):
        used = plain_layers if mix == UNCOMPRESSED else layers
        ours, moved = elastic_pages.attention(device, shape, mix, used, tuning)
        mine, theirs = in_turn(options, device, ours, used, peer, plain_layers)
        middle = sorted(mine)[len(mine) // 2]
        note = (
            f"peer: torch, {peer_name}; {moved / middle / 1e3:.0f} GB/s of the pages' bytes, "
            f"{moved / middle * 1e6 / bandwidth:.0%} of a copy's bandwidth; "
            f"{shape.plain_bytes / moved:.2f}x fewer bytes"
        )
        rows.append(row(f"{shape.case}, {mix}", "decode attention of one layer", "us", mine, theirs, note=note))
        print(f"{rows[-1].case}: {middle:.1f} us, torch {rows[-1].peer:.1f} us ({note})", flush=True)
        del ours
        device.tidy()
    return rows


def in_turn(
    options: Options,
    device: Device,
    ours: Callable[[], None],
    our_layers: int,
    peer: Callable[[], None],
    layers: int,
) -> tuple[list[float], list[float]]:
    """Time both in turn: microseconds of one layer, one value per repeat."""
    mine, theirs = [], []
    for _ in range(options.repeats):
        mine.append(device.microseconds(ours) / our_layers)
        theirs.append(device.microseconds(peer) / layers)
    return mine, theirs


if __name__ == "__main__":
    raise SystemExit(main())

"""Our engine decoding greedily in a process of its own; see ``decoding_process.py`` for the protocol.

Runs the decoder that the engine runs, in the same plain loop as the peers: no sampler, no text.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead_kernels import backend, set_threads
from fairlead_kernels.streamed import NeuronStore
from fairlead_kernels.work import FIELDS, empty_work
from fairlead_language_model.graph import KVPages
from fairlead_language_model.serving.resident import resident_bytes, return_free_memory
from fairlead_sparse_inference.accelerators import KINDS, open_accelerator
from fairlead_sparse_inference.bundle import open_bundle
from fairlead_sparse_inference.engine.hybrid_model import HybridModel, network_of
from fairlead_sparse_inference.engine.model import SparseModel

PAGE_TOKENS, PREFILL_TOKENS = 16, 16
#: What a limited process leaves free: the interpreter's own growth, and pages of files that the kernel counts.
_MARGIN_BYTES = 8 << 20
#: An interpreter with the libraries, before a model is loaded.
_INTERPRETER_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator that takes a share of each layer's neurons, the first ones of a bundle, which fire most often."""

    kind: str
    share: float

    def hybrid(self, model: SparseModel, path: Path) -> SparseModel:
        """The model with those neurons on the accelerator."""
        bundle, masks = open_bundle(path), []
        for layer in range(len(model.weights.layers)):
            order = bundle.order(f"layers.{layer}")
            mask = np.zeros(len(order), np.bool_)
            mask[order[: round(self.share * len(order))]] = True
            masks.append(mask)
        return HybridModel(model, open_accelerator(self.kind, network_of(model)), masks)


class Model:
    """A model in one mode; with ``budget`` bytes its neurons are read from the file into what is left of them."""

    def __init__(
        self,
        path: Path,
        mode: str,
        context: int,
        budget: int | None,
        device: Device | None = None,
        *,
        checksum: bool = False,
    ) -> None:
        if budget is not None:
            _check(path, mode, budget)
        self._model = SparseModel.load(path, mode=mode, streamed=budget is not None)
        if device is not None:
            self._model = device.hybrid(self._model, path)
        pages = KVPages(self._model.config, -(-context // PAGE_TOKENS), PAGE_TOKENS)
        self._checksum = checksum
        self._table = np.arange(-(-context // PAGE_TOKENS), dtype=np.int32)
        if budget is not None and self._model.store is not None:
            self._fit(self._model.store, budget, pages)
        self._decoder = self._model.decoder(pages)

    def _fit(self, store: NeuronStore, budget: int, pages: KVPages) -> None:
        return_free_memory()
        # Neither pages nor a prompt's buffers are touched yet.
        untouched = pages.count * pages.page_bytes + store.pass_bytes(PREFILL_TOKENS)
        fixed = anonymous_bytes() + untouched + _MARGIN_BYTES
        slots = (budget - fixed) // store.shape.slot_bytes
        if slots < 1:
            raise ValueError(f"budget: {budget} bytes; at least {fixed + store.shape.slot_bytes} are needed")
        store.resize(min(int(slots), store.shape.full_slots))

    @property
    def slots(self) -> int | None:
        """Clusters that the cache holds."""
        return None if self._model.store is None else self._model.store.slots

    @property
    def reading(self) -> str | None:
        """How the file is read."""
        return None if self._model.store is None else self._model.store.engine

    def greedy(self, prompt: list[int], count: int) -> dict[str, Any]:
        """``count`` tokens after a prompt; what the layers did per token, and a checksum of all logits if wanted."""
        work, began = empty_work(len(self._model.weights.layers)), time.perf_counter()
        logits = self._decoder.prefill(np.asarray(prompt, np.int32), 0, self._table).logits
        tokens, checksum = [int(logits.argmax())], zlib.crc32(logits) if self._checksum else None
        first = time.perf_counter()
        for position in range(len(prompt), len(prompt) + count - 1):
            result = self._decoder.step(tokens[-1], position, self._table)
            tokens.append(int(result.logits.argmax()))
            if checksum is not None:
                checksum = zlib.crc32(result.logits, checksum)
            work += result.work
        seconds = time.perf_counter() - first
        each = dict(zip(FIELDS, (work.sum(axis=0) / max(1, count - 1)).tolist(), strict=True))
        told = {"work": each, "checksum": checksum, "memory_bytes": anonymous_bytes(), "slots": self.slots}
        told["guesses"] = None if self._model.store is None else self._model.store.guesses
        return {"tokens": tokens, "prefill_s": first - began, "decode_s": seconds, **told}


def anonymous_bytes() -> int:
    """Memory of this process without pages of files, which the kernel can drop."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return resident_bytes()


def _check(path: Path, mode: str, budget: int) -> None:
    """Refuse a budget that what must stay in memory exceeds, before it is loaded."""
    needed = (path / "resident.safetensors").stat().st_size + _INTERPRETER_BYTES
    if mode == "exact":  # all gates stay in memory
        needed += (path / "neurons.bin").stat().st_size * 27 // 100
    if needed > budget:
        raise ValueError(f"budget: {budget} bytes; at least {needed} are needed for what stays in memory")


def main() -> None:
    """Load, say so, and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--mode", choices=("exact", "predictor"), default="exact")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--budget", type=int, default=None, metavar="BYTES", help="of the whole process")
    parser.add_argument("--checksum", action="store_true", help="of all logits, which takes time")
    parser.add_argument("--accelerator", choices=KINDS, help="takes the share of the neurons that fire most often")
    parser.add_argument("--hot-share", type=float, default=1.0)
    asked = parser.parse_args()
    set_threads(asked.threads)
    device = None if asked.accelerator is None else Device(asked.accelerator, asked.hot_share)
    model = Model(asked.model, asked.mode, asked.context, asked.budget, device, checksum=asked.checksum)
    kernels = f"{backend().name}:{backend().isa}"
    ready = {"ready": kernels, "slots": model.slots, "reading": model.reading, "memory_bytes": anonymous_bytes()}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(model.greedy(request["prompt"], request["count"])), flush=True)


if __name__ == "__main__":
    main()

"""What `elastic_cpu` measures of compressed pages' bookkeeping: numbers and tables alone, and with what has to move."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.options import Options
from benchmarks.results_file import Row, row
from fairlead_elastic_serving.arena.allocation import fill
from fairlead_elastic_serving.arena.formats import K4V2, K8V4
from fairlead_elastic_serving.arena.page_arena import PageArena
from fairlead_elastic_serving.arena.page_tables import PageTables
from fairlead_elastic_serving.compression.tiered_rows import TieredRows
from fairlead_elastic_serving.engine.compressed_space import SETTLE_EVERY
from fairlead_elastic_serving.kernels.backends import backend
from fairlead_elastic_serving.kernels.placement import Thresholds
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from fairlead_elastic_serving.memory import PageMemory

LAYERS, KV_HEADS, HEADS, HEAD_DIM, HIDDEN, NEURONS = 32, 8, 32, 128, 4096, 14336
PROMPT, PAGE_BYTES = 2048, 4096
TIERS = Tiers.of(K8V4, K4V2, HEAD_DIM, PAGE_BYTES)
#: What was published for a GPU (LeanKV): shares of a prompt's and of a decoding step's time.
MOST_OF_PROMPT, MOST_OF_STEP = 0.2, 0.9


def tables_of(tiers: Tiers, counts: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """Page tables over pages in random order, and the number of pages."""
    needed = tiers.pages_for(counts).astype(np.int32)
    order = random.permutation(int(needed.sum())).astype(np.int32)
    tables = np.zeros((len(counts), int(needed.sum(axis=1).max())), np.int32)
    high = int(needed[:, HIGH].sum())
    rows, none = np.arange(len(counts)), np.zeros(len(counts), np.int64)
    fill(tables, rows, none, needed[:, HIGH], order[:high], from_right=False)
    fill(tables, rows, none, needed[:, LOW], order[high:], from_right=True)
    return tables, len(order)


class Books(TieredRows):
    """Compressed rows whose prompts are placed and get their pages, and are not written."""

    def _write(self, *arguments: object) -> None:
        pass


def _rows(kind: type[TieredRows], sequences: int) -> TieredRows:
    pages = sequences * LAYERS * KV_HEADS * TIERS.high.pages_for(PROMPT + 512)
    arena, tokens = PageArena(pages), (TIERS.high.tokens, TIERS.low.tokens)
    width = TIERS.high.pages_for(PROMPT + 512) + 1
    tables = PageTables(arena, sequences * LAYERS * KV_HEADS, width, tokens)
    alphas = np.full((LAYERS, KV_HEADS), 1.0, np.float32), np.full((LAYERS, KV_HEADS), 0.1, np.float32)
    return kind(tables, PageMemory(pages, PAGE_BYTES), TIERS, backend("cpu", "native"), Thresholds(*alphas))


def _scores(seed: int) -> np.ndarray:
    """About a quarter above the high threshold, a third between both, as in LeanKV's measurements."""
    return np.random.default_rng(seed).lognormal(-1.7, 2.3, (LAYERS, PROMPT, KV_HEADS)).astype(np.float32)


def bookkeeping(options: Options) -> list[Row]:
    """Shares of a prompt's and of a step's time."""
    prompt_s, step_s = _dense_layer(PROMPT) * LAYERS, _dense_layer(1) * LAYERS
    return [_prompt(options, prompt_s), *(_step(options, step_s, sequences) for sequences in (1, 4))]


def _dense_layer(tokens: int) -> float:
    """Seconds of one layer's dense products for some tokens, in bfloat16."""
    from benchmarks.elastic_cpu import seconds

    shapes = [(HIDDEN, (HEADS + 2 * KV_HEADS) * HEAD_DIM), (HEADS * HEAD_DIM, HIDDEN), (HIDDEN, 2 * NEURONS)]
    weights = [torch.zeros((out, into), dtype=torch.bfloat16) for into, out in [*shapes, (NEURONS, HIDDEN)]]
    inputs = [torch.zeros((tokens, weight.shape[1]), dtype=torch.bfloat16) for weight in weights]
    pairs = list(zip(inputs, weights, strict=True))
    return seconds(lambda: [torch.nn.functional.linear(one, weight) for one, weight in pairs], least=0.5)


def _prompt(options: Options, dense_s: float) -> Row:
    from benchmarks.elastic_cpu import seconds

    books, scores = _rows(Books, 1), _scores(options.seed)
    nothing = torch.zeros((PROMPT, KV_HEADS, HEAD_DIM))

    def one() -> None:
        rows = books.tables.open(LAYERS * KV_HEADS)
        of_layer = rows.reshape(LAYERS, KV_HEADS)
        for layer, placed in enumerate(books.place(scores)):
            books.store(of_layer[layer], placed, nothing, nothing, scores[layer], 0)
        books.tables.close(rows)

    took = [seconds(one) for _ in range(options.repeats)]
    note = f"placing, numbering, and pages given out and back: {1e3 * min(took):.1f} ms of {dense_s:.1f} s"
    shares = [100 * some / (some + dense_s) for some in took]
    return row(
        f"prompt of {PROMPT}, 8B shape", "page management", "% of the time", shares, limit=MOST_OF_PROMPT, note=note
    )


def _step(options: Options, dense_s: float, sequences: int) -> Row:
    """Pages for one token more in every row, and everything settled as often as the engine does it."""
    from benchmarks.elastic_cpu import seconds

    it, scores = _rows(TieredRows, sequences), _scores(options.seed)
    rows = it.tables.open(sequences * LAYERS * KV_HEADS)
    of_step = rows.reshape(sequences, LAYERS, KV_HEADS)
    vectors = torch.randn((PROMPT, KV_HEADS, HEAD_DIM))
    for of_layer in of_step:
        for layer, placed in enumerate(it.place(scores)):
            it.store(of_layer[layer], placed, vectors, vectors, scores[layer], 0)
    now = np.full(sequences, PROMPT - 1, np.int32)
    queries = torch.randn((sequences, HEADS, HEAD_DIM))
    attention_s = LAYERS * seconds(lambda: it.attend(queries, np.ascontiguousarray(of_step[:, 0]), 0.1, now))

    def steps() -> float:
        """Seconds a step of so many steps as lie between two settlings; what each of them writes is not counted."""
        spent = 0.0
        for _ in range(SETTLE_EVERY):
            now[...] += 1
            start = time.thread_time()
            it.grow(rows)
            spent += time.thread_time() - start
            for layer in range(LAYERS):
                it.append(np.ascontiguousarray(of_step[:, layer]), vectors[:sequences], vectors[:sequences], now)
        start = time.thread_time()
        it.settle(rows.reshape(sequences, -1), now)
        return (spent + time.thread_time() - start) / SETTLE_EVERY

    took = [steps() for _ in range(options.repeats + 1)][1:]
    whole = dense_s + attention_s
    note = f"pages given out and back, tokens moved between the tiers: {1e3 * min(took):.2f} ms of {1e3 * whole:.0f} ms"
    shares = [100 * some / (some + whole) for some in took]
    case = f"{sequences} x {PROMPT} tokens, 8B shape"
    return row(case, "page management of a step", "% of the time", shares, limit=MOST_OF_STEP, note=note)

"""Threads change the speed only, and nothing waits for a thread that is not there."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fairlead_kernels as fk
from tests.plugins.kernels.cases import each_isa, floats, matrix, needs_native

COUNTS = (2, 3, 7)


@each_isa
def test_products_do_not_depend_on_the_number_of_threads(isa: str) -> None:
    fk.select(isa)
    rng = np.random.default_rng(0)
    m, x = matrix(rng, 1023, 512), floats(rng, 9, 512)
    one = fk.gemv_q8(m, x[0]), fk.gemm_q8(m, x)
    for count in COUNTS:
        fk.set_threads(count)
        assert fk.threads() == count
        np.testing.assert_array_equal(fk.gemv_q8(m, x[0]), one[0])
        np.testing.assert_array_equal(fk.gemm_q8(m, x), one[1])


@each_isa
def test_feed_forward_and_attention_do_not_either(isa: str) -> None:
    fk.select(isa)
    rng = np.random.default_rng(1)
    layer, x = [matrix(rng, 1501, 256) for _ in range(3)], floats(rng, 256)
    pages, query = floats(rng, 2, 40, 16, 4, 32), floats(rng, 20, 8, 32)
    table = rng.permutation(40).astype(np.int32)

    def compute() -> tuple[np.ndarray, np.ndarray]:
        y, _ = fk.sparse_ffn_q8(layer[0], layer[1], layer[2], x)
        return y, fk.paged_attention_prefill(query, pages[0], pages[1], table, 600, 0.2)

    one = compute()
    for count in COUNTS:
        fk.set_threads(count)
        for expected, got in zip(one, compute(), strict=True):
            np.testing.assert_array_equal(got, expected)


@needs_native
def test_callers_at_the_same_time_get_their_own_results() -> None:
    fk.set_threads(3)
    rng = np.random.default_rng(2)
    m, xs = matrix(rng, 800, 256), floats(rng, 4, 256)
    expected = [fk.gemv_q8(m, x) for x in xs]
    wrong: list[int] = []

    def call(index: int) -> None:
        same = [np.array_equal(fk.gemv_q8(m, xs[index]), expected[index]) for _ in range(200)]
        wrong.extend(index for one in same if not one)

    callers = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for caller in callers:
        caller.start()
    for size in (1, 4, 2, 3):
        fk.set_threads(size)
    for caller in callers:
        caller.join(120)
        assert not caller.is_alive()
    assert not wrong


@needs_native
def test_more_threads_than_a_loaded_machine_has_processors() -> None:
    """Helpers are put aside at any point of their work, and every result still comes and is right."""
    rng = np.random.default_rng(4)
    m = fk.pack(floats(rng, 1023, 512), 4)
    layer = [fk.pack(floats(rng, 1501, 256), 4) for _ in range(3)]
    x, wide = floats(rng, 256), floats(rng, 3, 512)
    expected = fk.gemv_packed(m, wide[0]), fk.gemm_packed(m, wide), fk.sparse_ffn_packed(*layer, x)[0]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        for count in (2, 9, 32):
            fk.set_threads(count)
            for pause in (0, 0, 0, 0.001) * 10:
                got = fk.gemv_packed(m, wide[0]), fk.gemm_packed(m, wide), fk.sparse_ffn_packed(*layer, x)[0]
                for one, other in zip(got, expected, strict=True):
                    np.testing.assert_array_equal(one, other)
                # Long enough for helpers to fall asleep.
                time.sleep(pause)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _child(m: fk.Q8Matrix, x: np.ndarray, answers: multiprocessing.Queue) -> None:
    answers.put(fk.gemv_q8(m, x))
    fk.set_threads(2)
    answers.put(fk.gemv_q8(m, x))


@needs_native
def test_a_forked_child_computes() -> None:
    rng = np.random.default_rng(3)
    m, x = matrix(rng, 800, 256), floats(rng, 256)
    fk.set_threads(3)
    expected = fk.gemv_q8(m, x)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_child, args=(m, x, answers))
    child.start()
    for _ in range(2):
        np.testing.assert_array_equal(answers.get(timeout=120), expected)
    child.join(120)
    assert child.exitcode == 0


@pytest.mark.parametrize("count", [0, -1, 257])
def test_silly_counts_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"threads: must be 1..256, got {count}"):
        fk.set_threads(count)

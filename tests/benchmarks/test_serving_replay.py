"""Replay of requests on an engine, and what the times come to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.serving.replay import Asked, News, Replay, Served
from benchmarks.serving.statistics import Goal, bootstrap, percentile, summary

SEED, VOCABULARY = 3, 100


class Counting:
    """Answers every request with one token a poll: its prompt's length, and so on."""

    def __init__(self, most: int | None = None) -> None:
        self.prompts: dict[str, list[int]] = {}
        self.most_open = 0
        self._left: dict[str, int] = {}
        self._most = most

    def submit(self, name: str, prompt: list[int], count: int) -> None:
        if len(prompt) > 50:
            raise ValueError("too long")
        self.prompts[name] = prompt
        self._left[name] = count if self._most is None else min(count, self._most)
        self.most_open = max(self.most_open, len(self._left))

    def poll(self, timeout_s: float) -> list[News]:
        if not self._left:
            time.sleep(timeout_s)
        found = []
        for name in list(self._left):
            self._left[name] -= 1
            found.append(News(name, time.monotonic(), [self._left[name]], self._left[name] == 0))
            if not self._left[name]:
                del self._left[name]
        return found

    def gauge(self) -> Mapping[str, float]:
        return {"capacity": 1.0}

    def told(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None: ...


def replay(engine: Counting) -> Replay:
    return Replay(engine, SEED, VOCABULARY, time.monotonic())


def test_the_open_loop_submits_when_due_whatever_came_before() -> None:
    engine = Counting()
    run = replay(engine)
    run.open_loop([Asked("late", 0.05, 10, 3), Asked("first", 0.0, 20, 4)])
    served = {item.name: item for item in run.served}
    assert all(item.whole for item in run.served)
    assert served["late"].sent_s >= 0.05
    assert len(served["first"].at_s) == 4 and served["first"].at_s == sorted(served["first"].at_s)
    assert len(engine.prompts["first"]) == 20 and max(engine.prompts["first"]) < VOCABULARY
    assert run.gauges[0]["capacity"] == 1.0


def test_prompts_are_the_same_for_every_system() -> None:
    assert Asked("a", 0, 9, 1).tokens(1, 50) == Asked("a", 3.0, 9, 5).tokens(1, 50) != Asked("b", 0, 9, 1).tokens(1, 50)


def test_the_closed_loop_keeps_so_many_under_way() -> None:
    engine = Counting()
    run = replay(engine)
    run.closed_loop([Asked(str(index), 0.0, 5, 3) for index in range(10)], 4)
    assert engine.most_open == 4
    assert len(run.served) == 10 and all(item.whole for item in run.served)


def test_answers_that_are_too_short_and_refusals_are_failures() -> None:
    run = replay(Counting(most=2))
    run.open_loop([Asked("short", 0.0, 5, 3), Asked("refused", 0.0, 60, 3)])
    errors = {item.name: item.error for item in run.served}
    assert errors == {"short": "2 of 3 tokens", "refused": "ValueError: too long"}


def test_the_digest_is_of_the_tokens_in_order() -> None:
    runs = [replay(Counting()), replay(Counting())]
    for run, count in zip(runs, (4, 5), strict=True):
        run.open_loop([Asked("a", 0.0, 5, count)])
    assert runs[0].served[0].digest != runs[1].served[0].digest


def test_an_interval_holds_what_values_were_drawn_from() -> None:
    values = np.random.default_rng(1).exponential(1.0, 2000)
    found = bootstrap(list(values), percentile(50), 1)
    assert found.low < np.log(2) < found.high
    assert found.low <= found.value <= found.high
    assert found == bootstrap(list(values), percentile(50), 1)
    with pytest.raises(ValueError, match="one at least"):
        bootstrap([], percentile(50), 1)


def test_a_summary_tells_the_burst_from_the_rest_and_counts_who_kept_the_goal() -> None:
    calm = [Served(f"c{i}", float(i), 4, 3, at_s=[i + 0.1, i + 0.2, i + 0.3]) for i in range(10)]
    burst = [Served(f"b{i}", 20.0 + i, 4, 3, at_s=[21.0 + i, 21.5 + i, 22.0 + i]) for i in range(10)]
    lost = Served("lost", 40.0, 4, 3, error="gone")
    found = summary([*burst, *calm, lost], (20.0, 30.0), Goal(0.5, 0.2), 50.0, 1)
    assert found.tpot_p50_calm is not None and found.tpot_p50_calm.value == pytest.approx(0.1)
    assert found.tpot_p50_burst is not None and found.tpot_p50_burst.value == pytest.approx(0.5)
    assert found.ttft_p99.value == pytest.approx(1.0)
    assert (found.goodput, found.failed) == (10 / 50.0, 1)
    assert found.tokens_per_s == pytest.approx(60 / 31.0)

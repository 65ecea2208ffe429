"""The protocol that engines in processes speak, and rows for what was not measured."""

from __future__ import annotations

import sys

import pytest

from benchmarks.decoding_process import DecodingProcess, EngineEnded
from benchmarks.options import line
from benchmarks.results_file import not_measured, row

_ECHO = """
import json, sys
print(json.dumps({"ready": "echo"}), flush=True)
for text in sys.stdin:
    asked = json.loads(text)
    if asked["count"] == 0:
        print("no more", file=sys.stderr)
        raise SystemExit(3)
    answer = {"tokens": asked["prompt"] * asked["count"], "prefill_s": 0.5, "decode_s": 0.25, "more": 7}
    print(json.dumps(answer), flush=True)
"""


def test_answers_come_with_times_and_what_else_is_told() -> None:
    engine = DecodingProcess([sys.executable, "-c", _ECHO])
    assert engine.ready == {"ready": "echo"}
    answer = engine.greedy([5], 3)
    assert (answer.tokens, answer.prefill_s, answer.told["more"]) == ((5, 5, 5), 0.5, 7)
    assert answer.tokens_per_s == pytest.approx(8.0)
    engine.close()


def test_an_engine_that_ends_is_told_with_its_last_words() -> None:
    engine = DecodingProcess([sys.executable, "-c", _ECHO])
    with pytest.raises(EngineEnded, match=r"ended with 3; no more") as caught:
        engine.greedy([5], 0)
    assert not caught.value.killed
    engine.close()


def test_a_promise_that_was_not_measured_does_not_hold() -> None:
    made = not_measured("case", "decode", "tokens/s", ">= 3.0x", "not installed")
    assert made.holds is False
    assert "not measured (not installed)" in line(made)
    assert row("c", "m", "s", [1.0], [2.0], target=1.5, promise="twice, as promised").target == "twice, as promised"

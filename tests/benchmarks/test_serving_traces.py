"""Traces, their scale, and what a simulated instance makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.serving.scaling import Scale, chosen, scaled
from benchmarks.serving.simulation import Speed, compute_load, simulate, spread
from benchmarks.serving.traces import AZURE_CODE, BURST_S, WINDOW_S, Arrival, generated, opened, read_azure, window
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel

COST = CostModel(2e-8, 4e-5, 4e-3, 3.9e-3)
SPEED = Speed(COST, step_tokens=128, sequences=16)
HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def trace(folder: Path, text: str) -> Path:
    file = folder / AZURE_CODE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HEAD + text)
    return file


def test_a_trace_counts_from_its_first_request(tmp_path: Path) -> None:
    file = trace(tmp_path, "2023-11-16 18:17:05.0319600,3180,8\n2023-11-16 18:17:03.9799600,4808,0\n")
    first, second = read_azure(file)
    assert first == Arrival(0.0, 4808, 1)  # an answer has a token at least
    assert (second.at_s, second.prompt, second.answer) == (pytest.approx(1.052), 3180, 8)


@pytest.mark.parametrize("line", ["2023-11-16 18:17:05,3180\n", "yesterday,1,1\n", "2023-11-16 18:17:05,many,1\n"])
def test_a_broken_trace_names_file_and_line(tmp_path: Path, line: str) -> None:
    file = trace(tmp_path, "2023-11-16 18:17:03.9799600,4808,10\n" + line)
    with pytest.raises(ValueError, match=r"line 3.*GeneratedTokens") as caught:
        read_azure(file)
    assert str(file) in str(caught.value)


def test_a_window_begins_at_zero() -> None:
    held = window([Arrival(at, 1, 1) for at in (0.0, 9.5, 10.0, 12.0, 30.0)], 10.0, 20.0)
    assert [item.at_s for item in held] == [0.0, 2.0]
    with pytest.raises(ValueError, match="no request between 50 and 60"):
        window([Arrival(0.0, 1, 1)], 50.0, 10.0)


def test_the_generated_window_has_a_burst_and_comes_again() -> None:
    one = generated(7)
    assert one == generated(7) != generated(8)
    inside = sum(BURST_S[0] <= item.at_s < BURST_S[1] for item in one)
    assert inside / (BURST_S[1] - BURST_S[0]) > 3 * (len(one) - inside) / (WINDOW_S - BURST_S[1] + BURST_S[0])
    assert all(0 <= item.at_s < WINDOW_S for item in one)


def test_without_data_the_generated_window_is_taken_and_named(tmp_path: Path) -> None:
    assert opened(tmp_path, 1) == opened(None, 1)
    assert "generated" in opened(None, 1)[1]


def test_a_request_alone_takes_what_its_steps_cost() -> None:
    found = simulate([Arrival(1.0, 200, 3)], SPEED)
    first = COST.chunk(Chunk(0, 128)) + COST.chunk(Chunk(128, 72))
    assert found.ttft_s == [pytest.approx(first)]
    assert found.residence_s == [pytest.approx(first + COST.chunk(Chunk(200, 1)) + COST.chunk(Chunk(201, 1)))]
    assert found.busy_s == pytest.approx(found.residence_s[0])
    assert found.peak == 202  # the last token frees everything


def test_who_finds_no_memory_waits_for_it() -> None:
    pair = [Arrival(0.0, 100, 20), Arrival(0.0, 100, 20)]
    together, apart = simulate(pair, SPEED), simulate(pair, SPEED, 130)
    assert together.ttft_s[1] < apart.residence_s[0] <= apart.ttft_s[1]
    assert apart.preemptions == 0


def test_the_youngest_is_computed_again_when_memory_ends() -> None:
    found = simulate([Arrival(0.0, 50, 40), Arrival(0.0, 50, 40)], SPEED, 110)
    assert found.preemptions >= 1
    assert len(found.residence_s) == 2
    with pytest.raises(ValueError, match="capacity of 80"):
        simulate([Arrival(0.0, 50, 40)], SPEED, 80)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.builds(Arrival, st.floats(0, 3), st.integers(1, 60), st.integers(1, 20)), min_size=1, max_size=20),
    st.integers(80, 400),
)
def test_every_request_ends_and_no_memory_is_taken_twice(arrivals: list[Arrival], capacity: int) -> None:
    found = simulate(arrivals, SPEED, capacity)
    assert len(found.ttft_s) == len(found.residence_s) == len(arrivals)
    assert min(found.ttft_s) > 0
    assert sum(map(len, spread(arrivals, 3))) == len(arrivals)


def test_the_load_of_a_known_request() -> None:
    speed = Speed(CostModel(0.0, 1e-3, 4e-3, 3e-3), step_tokens=128)
    # The prompt: 100 ms for its tokens and 1 ms as one more chunk; each further token: 1 ms and a fourth of 7 ms.
    assert compute_load([Arrival(0.0, 100, 11)], speed, 1.0, 1, 4) == pytest.approx(0.1 + 1e-3 + 10 * (1e-3 + 7e-3 / 4))


def test_lengths_and_count_are_scaled() -> None:
    arrivals = [Arrival(float(index), 1000, 10) for index in range(400)]
    found = scaled(arrivals, Scale(0.1, 4.0, 0.25, 64), 3)
    assert {(item.prompt, item.answer) for item in found} == {(64, 40)}
    assert 70 < len(found) < 130
    assert found == scaled(arrivals, Scale(0.1, 4.0, 0.25, 64), 3)
    with pytest.raises(ValueError, match="kept 1 at most"):
        scaled(arrivals, Scale(1.0, 1.0, 2.0, 64), 3)


def test_the_chosen_scale_makes_memory_short_and_not_computation() -> None:
    arrivals = generated(1)
    fit = chosen(arrivals, SPEED, 2, 2500, 1, prompt=1 / 32, kept=0.3, most_tokens=256, wanted=1.6)
    assert fit.fits and fit.demand == pytest.approx(1.6, rel=0.05)
    parts = spread(scaled(arrivals, fit.scale, 1), 2)
    assert sum(simulate(part, SPEED).peak for part in parts) == fit.peak


def test_where_computation_is_short_first_it_is_said() -> None:
    slow = Speed(CostModel(0.0, 1e-3, 0.2, 0.0))
    with pytest.raises(ValueError, match=r"a faster machine"):
        chosen(generated(1), slow, 2, 10**6, 1, prompt=1.0, kept=1.0, most_tokens=256, wanted=1.6)

"""Scenarios in motion: paths, traces, and the loop with its layers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.simulation.mobility import Recorded, Still, Straight, Waypoints, polar
from fairlead_isac.simulation.pictures import draw_layers
from fairlead_isac.simulation.policies import POLICIES, Policy
from fairlead_isac.simulation.run import simulate
from fairlead_isac.simulation.scenario import MovingScenario, street
from fairlead_isac.simulation.timeline import Timeline
from fairlead_isac.simulation.traces import RateTrace, available_traces, made_trace, recorded_traces

SECONDS = 0.205


def scene(users: int = 3, targets: int = 3) -> MovingScenario:
    traces = [made_trace(10.0, np.random.default_rng(seed)) for seed in range(3)]
    return street(1, 10.0, traces, users, targets, blocks=8)


def run(policy: Policy, scenario: MovingScenario, seconds: float = SECONDS) -> Timeline:
    return simulate(scenario, policy, seconds, np.random.default_rng(5))


@cache
def sensing_all(name: str) -> Timeline:
    return run(Policy(name, 1e9), scene())


def test_paths_move_as_fast_as_they_say() -> None:
    random = np.random.default_rng(0)
    straight = Straight((60.0, -100.0), (60.0, 100.0), 10.0)
    for path in (straight, Waypoints((50.0, 200.0, -50.0, 50.0), (2.0, 9.0), 60.0, random)):
        for t in (0.5, 7.0, 33.3):
            (now, velocity), (then, _) = path.at(t), path.at(t + 1e-4)
            np.testing.assert_allclose((then - now) / 1e-4, velocity, atol=1e-5)
    assert np.linalg.norm(straight.at(25.0)[0] - [60.0, 50.0]) < 1e-9
    np.testing.assert_array_equal(straight.at(25.0)[1], [0.0, -10.0])
    np.testing.assert_array_equal(Still(1.0, 2.0).at(9.0)[0], [1.0, 2.0])


def test_a_recorded_path_is_linear_and_repeated() -> None:
    path = Recorded([0.0, 1.0, 3.0], [(0.0, 0.0), (10.0, 0.0), (10.0, 20.0)])
    np.testing.assert_allclose(path.at(2.0)[0], [10.0, 10.0])
    np.testing.assert_allclose(path.at(3.5)[0], [5.0, 0.0])
    with pytest.raises(IsacError, match="ascending"):
        Recorded([0.0, 0.0], [(0.0, 0.0), (1.0, 1.0)])


def test_polar_is_what_a_cell_sees() -> None:
    distance, angle, speed = polar(np.array([30.0, 40.0]), np.array([3.0, 4.0]))
    assert (distance, speed) == (pytest.approx(50.0), pytest.approx(5.0))
    assert angle == pytest.approx(np.arctan2(40.0, 30.0))


def test_traces_are_read_scaled_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "radio" / "bandwidth" / "hsdpa_norway"
    folder.mkdir(parents=True)
    (folder / "tram").write_text("0 1\n1 3\n2 2\n")
    (folder / "LICENSE").write_text("free\n")
    monkeypatch.setenv("FAIRLEAD_DATA", str(tmp_path))
    (trace,) = available_traces(4, 10.0, np.random.default_rng(0))
    assert trace.name == "hsdpa_norway/tram"
    assert [trace.at(t) for t in (0.0, 0.5, 1.0, 3.0)] == pytest.approx([0.5, 1.0, 1.5, 1.5])
    monkeypatch.delenv("FAIRLEAD_DATA")
    made = available_traces(4, 10.0, np.random.default_rng(0))
    assert [trace.name for trace in made] == ["made-0", "made-1", "made-2", "made-3"]
    assert recorded_traces(folder, 1)[0].name == trace.name
    with pytest.raises(IsacError, match="two or more"):
        RateTrace("short", [0.0], [1.0])


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_runs_and_its_timeline_adds_up(name: str) -> None:
    timeline = sensing_all(name)
    kpis = timeline.kpis()
    assert timeline.rates_bits_per_s.shape == (11, 3) and timeline.looks.shape == (11, 3)
    assert kpis["sum_rate_bits_per_s"] > 1e6 and 0.0 < kpis["sensing_overhead"] < 0.9
    assert len(timeline.verdicts) == 2 * 3
    assert timeline.decided["slot"] == round(SECONDS / scene().cell.numerology.slot_s)
    assert sum(timeline.fallbacks.values()) == 0
    symbols = sum(verdict.symbols for verdict in timeline.verdicts)
    sent = timeline.looks[:10].sum() * timeline.sample_s / scene().cell.numerology.symbol_s
    assert symbols == pytest.approx(sent, rel=0.05, abs=2)


def test_all_layers_meet_the_needs_that_the_coarse_ones_serve() -> None:
    timeline = sensing_all("multi-granularity")
    assert timeline.satisfaction == 1.0, timeline.missed()
    assert {decision.layer for decision in timeline.decisions} == {"band", "cell", "slot", "symbol"}
    assert timeline.decided["band"] == 1 and timeline.decided["cell"] == 5
    nothing = run(Policy("multi-granularity", 0.0), scene())
    assert nothing.satisfaction == 0.0 and nothing.sum_rate_bits_per_s > timeline.sum_rate_bits_per_s


def test_the_same_seed_gives_the_same_timeline() -> None:
    first, second = (run(Policy(bits_per_refresh=1e5), scene(), 0.11) for _ in range(2))
    np.testing.assert_array_equal(first.rates_bits_per_s, second.rates_bits_per_s)
    assert first.verdicts == second.verdicts


def test_it_runs_without_users_and_without_targets() -> None:
    alone = run(Policy(bits_per_refresh=1e9), scene(users=0), 0.11)
    assert alone.sum_rate_bits_per_s == 0.0 and alone.satisfaction == 1.0
    quiet = run(Policy(bits_per_refresh=1e9), scene(targets=0), 0.05)
    assert quiet.verdicts == () and np.isnan(quiet.satisfaction)


def test_users_without_a_trace_follow_their_distance() -> None:
    scenario = scene()
    near = replace(scenario.users[0], trace=None, path=Still(30.0, 0.0))
    far = replace(scenario.users[1], trace=None, path=Still(800.0, 0.0))
    rates = run(Policy(bits_per_refresh=0.0), replace(scenario, users=(near, far)), 0.03).rates_bits_per_s.mean(axis=0)
    assert rates[0] > 1.5 * rates[1] > 0.0


def test_layers_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_layers(sensing_all("multi-granularity"), tmp_path / "layers.png")
    assert (tmp_path / "layers.png").read_bytes()[:4] == b"\x89PNG"


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    simulate(scene(), Policy(), 0.05, np.random.default_rng(0), shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_bad_arguments_are_named() -> None:
    with pytest.raises(IsacError, match="seconds"):
        simulate(scene(), Policy(), -1.0, np.random.default_rng(0))
    with pytest.raises(IsacError, match="accepted: multi-granularity"):
        Policy("whatever")
    scenario = scene()
    with pytest.raises(IsacError, match="is there twice"):
        replace(scenario, users=(scenario.users[0], scenario.users[0]))

"""Scenarios as users write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fairlead_isac.errors import IsacError
from fairlead_isac.simulation.pictures import draw_layers
from fairlead_isac.simulation.policies import Policy
from fairlead_isac.simulation.reading import read_scenario
from fairlead_isac.simulation.run import simulate

TEXT = """
seed: 3
seconds: 0.11
bits_per_refresh: 1.0e+9
cell: {antennas: 16, resource_blocks: 24, power_watts: 2}
users:
  - {name: bus, path: {kind: straight, start_m: [80, -100], end_m: [80, 100], speed_m_per_s: 12}, trace: trace.txt}
  - {name: desk, path: {kind: still, at_m: [40, 10]}, weight: 2, min_rate_bits_per_s: 1000000}
  - {name: tram, path: {kind: recorded, times_s: [0, 5], points_m: [[50, 0], [70, 5]]}, trace: made}
targets:
  - {name: walker, path: {kind: waypoints, x_m: [40, 90], y_m: [-30, 30], speeds_m_per_s: [1, 2]}, rcs_m2: 0.5}
"""


def content(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(TEXT), **changes}


def test_a_file_is_run_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "trace.txt").write_text("0 2\n5 4\n")
    read, scenario = read_scenario(content(), tmp_path)
    assert [each.user.name for each in scenario.users] == ["bus", "desk", "tram"]
    assert scenario.users[0].trace is not None and scenario.users[1].trace is None
    assert scenario.cell.numerology.bandwidth_hz == pytest.approx(24 * 12 * 30e3)
    policy = Policy(read.policy, read.bits_per_refresh, read.most_sensing)
    timeline = simulate(scenario, policy, read.seconds, np.random.default_rng(read.seed))
    assert timeline.satisfaction == 1.0 and timeline.sum_rate_bits_per_s > 0.0
    draw_layers(timeline, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes()[:4] == b"\x89PNG"


def test_the_street_is_ready_made() -> None:
    _, scenario = read_scenario({"street": {"users": 2, "targets": 3}})
    assert len(scenario.users) == 2 and len(scenario.targets) == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colour": 1}, "colour = 1: unknown; accepted: seed"),
        ({"seconds": -1}, "seconds = -1"),
        ({"policy": "best"}, "policy = 'best'"),
        ({"street": {}}, "one of both"),
        ({"users": [{"name": "a", "path": {"kind": "train"}}]}, "users.0.path"),
        ({"targets": [{"name": "a", "path": {"kind": "still", "at_m": [1, 2]}, "rcs_m2": 0}]}, "rcs_m2 = 0"),
    ],
)
def test_a_bad_key_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(IsacError, match=named):
        read_scenario(content(**changes))


def test_a_bad_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trace\.txt"):
        read_scenario(content(), tmp_path)
    (tmp_path / "trace.txt").write_text("0 2\nx 4\n")
    with pytest.raises(ValueError, match="line 2"):
        read_scenario(content(), tmp_path)

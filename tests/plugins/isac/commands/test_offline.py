"""`fairlead isac simulate` and `process`: scenarios and captures, without a fleet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fairlead_agent.config.found import known_configs
from fairlead_isac.commands.group import isac
from fairlead_isac.commands.simulating import load

SMALL = """
seconds: 0.05
cell: {carrier_hz: 3.5e+9, subcarrier_spacing_hz: 30000, resource_blocks: 24, antennas: 4}
users:
  - {name: cafe, path: {kind: still, at_m: [60, 20]}}
targets:
  - {name: car, rcs_m2: 10, refresh_s: 0.02, velocity_resolution_m_per_s: 5, path: {kind: still, at_m: [40, 0]}}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(isac, list(words))


def test_a_scenario_is_simulated_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setattr("fairlead_isac.commands.simulating.REGION_DROPS", 1)
    monkeypatch.setattr("fairlead_isac.scenarios.region.SHARES", (0.3, 0.9))
    (tmp_path / "small.yaml").write_text(SMALL)
    done = run("simulate", str(tmp_path / "small.yaml"), "--policy", "coarse", "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["coarse"]
    assert found["sum_rate_bits_per_s"] > 1e6 and 0 <= found["sensing_satisfaction"] <= 1
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["small-coarse.png", "small-range-doppler.png", "small-region.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


@pytest.mark.parametrize("name", known_configs("scenarios"))
def test_shipped_scenarios_load(name: str) -> None:
    loaded = load(name, {})
    assert loaded.name == name and loaded.scenario.users and loaded.scenario.targets


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SMALL.replace("seconds: 0.05", "second: 1"), "second = 1: unknown; accepted: seed, seconds"),
        (SMALL.replace("kind: still, at_m: [60, 20]", "kind: fly"), "users.0.path = "),
        (SMALL.replace("rcs_m2: 10", "rcs_m2: -1"), "targets.0.rcs_m2 = -1"),
        ("users: [", "accepted: YAML"),
        ("- 1", "accepted: keys with values"),
    ],
)
def test_a_bad_scenario_is_said_with_its_file_and_key(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    done = run("simulate", str(path))
    assert done.exit_code == 1 and done.output.count("\n") == 1
    assert done.output.startswith(f"Error: {path}: ") and said in done.output


def test_an_unknown_scenario_lists_the_shipped_ones() -> None:
    done = run("simulate", "streat")
    assert done.exit_code == 1 and "did you mean 'street'?" in done.output


def samples(path: Path) -> Path:
    """A TI frame with one approaching target among noise."""
    rng = np.random.default_rng(5)
    chirps, antennas, count = 64, 4, 64
    phases = 2j * np.pi * (np.arange(count) * 12 / count + 0.2 * np.arange(chirps)[:, None, None])
    noise = rng.standard_normal((chirps, antennas, count)) + 1j * rng.standard_normal((chirps, antennas, count))
    np.save(path, np.round(100 * np.exp(phases) + 3 * noise))
    return path


def test_a_capture_becomes_a_picture_with_detections(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    capture = samples(tmp_path / "frame.npy")
    done = run("process", str(capture), "--out", str(tmp_path / "map.png"), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["kind"] == "range-Doppler" and len(found["detections"]) == 1
    assert abs(found["detections"][0]["row"]) == pytest.approx(12, abs=0.5) and found["detections"][0]["moving"]
    assert (tmp_path / "map.png").stat().st_size > 10_000
    shown = run("process", str(capture)).output
    assert "frame: range-Doppler map, 64 x 64 cells" in shown and "yes" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.npy",), "missing.npy"),
        (("--start", "7e10"), "accepted: all four, or none"),
        (("--out", "map.bmp"), "accepted: a name that ends in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_processed_is_said_in_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    capture = () if words[0].endswith(".npy") else (str(samples(tmp_path / "frame.npy")),)
    done = run("process", *capture, *words)
    assert done.exit_code == 1 and said in done.output and done.output.count("\n") == 1

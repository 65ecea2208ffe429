"""The study reads as the indexes would, and finds the kind that suits a tier; its commands say what they found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_tiered_retrieval.advisor.costs import Shape, Speeds
from fairlead_tiered_retrieval.advisor.study import Measured, as_json, fill, ratios, study, turning_points
from fairlead_tiered_retrieval.commands.group import vectors
from fairlead_tiered_retrieval.tiers.urls import open_region


def test_every_point_is_measured_with_the_reads_of_its_kind() -> None:
    with open_region("dram:", 1 << 20) as region:
        fill(region)
        found = study([("memory", region)], Shape(10_000, 64, 256), payloads=(64, 256), in_flight=(1, 4), seconds=0.001)
    assert {(one.kind, one.payload, one.in_flight) for one in found} == {
        (kind, payload, queries) for kind in ("graph", "lists") for payload in (64, 256) for queries in (1, 4)
    }
    for one in found:
        assert one.rounds == 1 if one.kind == "lists" else one.rounds > 1
        assert one.per_second > 0
        assert not one.waits
    assert len(ratios(found)) == 4
    assert json.loads(json.dumps(as_json(found)))[0]["tier"] == "memory"


def point(kind: str, in_flight: int, tier_s: float, processor_s: float) -> Measured:
    return Measured("disk", kind, 512, in_flight, 20, 1 if kind == "lists" else 8, tier_s, processor_s)  # type: ignore[arg-type]


def test_a_lone_query_waits_and_many_hide_the_tier() -> None:
    assert point("lists", 1, 3e-4, 1e-4).per_second == pytest.approx(2500)
    assert point("lists", 16, 3e-4, 1e-4).per_second == pytest.approx(10_000)


def test_the_turning_point_is_said_in_words() -> None:
    found = [point("graph", 1, 8e-4, 2e-5), point("lists", 1, 1e-4, 1e-4)]
    assert "clusters everywhere" in turning_points(found)[0]
    found += [point("graph", 64, 8e-4, 2e-5), point("lists", 64, 1e-4, 1e-4)]
    said = turning_points(found)[0]
    assert "from 64 queries under way" in said
    assert "clusters elsewhere" in said


def test_the_command_writes_points_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "tier.bytes"
    file.write_bytes(bytes(1 << 18))
    out, plots = tmp_path / "points.json", tmp_path / "plots"
    asked = ["study", "--tier", f"file:{file}", "--seconds", "0.001", "--out", str(out), "--plots", str(plots)]
    told = CliRunner().invoke(vectors, asked)
    assert told.exit_code == 0, told.output
    assert json.loads(out.read_text())["points"]
    assert {path.name for path in plots.iterdir()} == {"graph-or-clusters.png", "rates-1024.png"}


def test_advice_of_a_file_gives_its_reasons(tmp_path: Path) -> None:
    file = tmp_path / "some.npy"
    np.save(file, np.random.default_rng(5).standard_normal((400, 24)).astype(np.float32))
    told = CliRunner().invoke(vectors, ["advise", str(file), "--count", "1000000", "--memory-mib", "30", "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.output)
    assert said["tier"] == "file"
    assert any("1,000,000 vectors" in reason for reason in said["reasons"])


@pytest.mark.parametrize("wrong", ["file", "file:1", "file:a:b", "file:-1:5"])
def test_tiers_that_are_not_understood_are_refused(wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "some.npy"
    np.save(file, np.zeros((40, 8), np.float32))
    told = CliRunner().invoke(vectors, ["advise", str(file), "--tier", wrong])
    assert told.exit_code == 2
    assert "accepted: KIND:LATENCY_US:READS_PER_S" in told.output


def test_slower_processors_make_everything_slower() -> None:
    slow = Speeds(code_byte_s=1e-9, exact_byte_s=1e-9, jump_s=1e-6, hop_s=1e-6, query_s=1e-4)
    with open_region("dram:", 1 << 20) as region:
        asked = {"payloads": (64,), "in_flight": (4,), "seconds": 0.001}
        fast = study([("a", region)], Shape(10_000, 64, 256), **asked)
        late = study([("a", region)], Shape(10_000, 64, 256), speeds=slow, **asked)
    assert all(one.processor_s > other.processor_s for one, other in zip(late, fast, strict=True))

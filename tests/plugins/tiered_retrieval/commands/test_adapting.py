"""`fairlead vectors bench-adapter`: a file in, recall and rates out, and one error for what it cannot take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from fairlead_tiered_retrieval.commands.adapting import bench_adapter


def test_it_says_what_each_recall_came_to(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((400, 12)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    done = CliRunner().invoke(
        bench_adapter, [str(tmp_path / "rows.npy"), "--kind", "flat", "--recall", "0.9", "--json"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert [(one["asked"], one["recall"]) for one in said["points"]] == [(0.9, 1.0)]
    assert said["kib"] > 0 and said["points"][0]["per_second"] > 0
    done = CliRunner().invoke(bench_adapter, [str(tmp_path / "rows.npy"), "--kind", "graph", "--batch"])
    assert done.exit_code == 0 and done.output.count("queries/s") == 4


def test_files_that_are_none_are_one_error(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.ones((5, 4), np.float32))
    done = CliRunner().invoke(bench_adapter, [str(tmp_path / "few.npy")])
    assert done.exit_code == 1 and "4 vectors beside 1 queries; accepted: 10 and 1" in done.output
    done = CliRunner().invoke(bench_adapter, [str(tmp_path / "few.bin")])
    assert done.exit_code == 1 and "no such file" in done.output

"""Conversion: the same model comes out, in the wanted order, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_sparse_inference.bundle import open_bundle
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.conversion.convert import hot_first, most_frequent
from fairlead_sparse_inference.sparsity.model import load_model
from fairlead_sparse_inference.sparsity.perplexity.score import score
from fairlead_sparse_inference.sparsity.predictor.file import write_predictors
from fairlead_sparse_inference.sparsity.predictor.network import Predictor
from fairlead_sparse_inference.sparsity.profile.file import read_profile
from fairlead_sparse_inference.sparsity.text import read_windows


def run(command: str, *arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(sparse, [command, *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_eight_bits_keep_every_weight_of_a_q8_checkpoint(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    content = run("convert", checkpoint, tmp_path / "b", "--bits", "8")
    assert content["verified"] and content["neurons"] == 192
    ours, theirs = load_model(tmp_path / "b"), load_model(checkpoint)
    rows = read_windows(text, "all", ours.tokenizer, ours.config, 64, 32).rows
    np.testing.assert_allclose(score(ours, rows).losses, score(theirs, rows).losses, rtol=1e-5)
    np.testing.assert_array_equal(ours.graph.weights.layers[1].up, theirs.graph.weights.layers[1].up)


def test_order_hot_neurons_and_predictors_are_taken_in(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    run("profile", checkpoint, text, "--out", tmp_path / "p.npz", "--part", "all", "--context", "32")
    random = np.random.default_rng(0)
    shapes = ((32, 64), (96, 32), (96,))
    made = [
        Predictor(*(random.normal(size=s).astype(np.float32) for s in shapes), threshold=i).rounded() for i in (0, 1)
    ]
    write_predictors({f"layers.{i}": one for i, one in enumerate(made)}, {}, tmp_path / "q.safetensors")
    options = ("--profile", tmp_path / "p.npz", "--predictors", tmp_path / "q.safetensors", "--hot-coverage", "0.3")
    run("convert", checkpoint, tmp_path / "b", "--bits", "4", *options)
    bundle, profile = open_bundle(tmp_path / "b"), read_profile(tmp_path / "p.npz")
    for layer, frequencies in enumerate(profile.frequencies()):
        order, hot = bundle.order(f"layers.{layer}"), bundle.networks[f"layers.{layer}"].hot
        assert 0 < hot < 96
        assert frequencies[order[:hot]].min() >= frequencies[order[hot:]].max()
        rest = [n for n in profile.layers[layer].order if n not in set(order[:hot].tolist())]
        np.testing.assert_array_equal(order[hot:], rest)
    read = load_model(tmp_path / "b")
    for ours, theirs in zip(read.predictors.values(), made, strict=True):
        for part in ("a", "b", "bias", "threshold"):
            np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
    scored = run("perplexity", tmp_path / "b", text, "--part", "all", "--context", "32", "--tokens", "64")
    assert set(scored["modes"]) == {"exact", "predictor"}


@pytest.mark.parametrize("kilobytes", [8, 40])
def test_a_file_that_cannot_grow_leaves_nothing_behind(checkpoint: Path, tmp_path: Path, kilobytes: int) -> None:
    out = tmp_path / "full" / "b"
    out.parent.mkdir()
    script = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes * 1024},) * 2)\n"
        "from fairlead_sparse_inference.sparsity.command import sparse\n"
        "sparse()\n"
    )
    arguments = ["convert", str(checkpoint), str(out), "--bits", "8"]
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ,
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.strip().startswith("Error: ") and str(out.parent) in ended.stderr
    assert list(out.parent.iterdir()) == []


def test_what_exists_is_not_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    result = CliRunner().invoke(sparse, ["convert", str(checkpoint), str(tmp_path)])
    assert result.exit_code == 1 and "exists already" in result.output
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_bundle_is_no_checkpoint_to_convert(checkpoint: Path, tmp_path: Path) -> None:
    made = CliRunner().invoke(sparse, ["convert", str(checkpoint), str(tmp_path / "one")])
    assert made.exit_code == 0, made.output
    result = CliRunner().invoke(sparse, ["convert", str(tmp_path / "one"), str(tmp_path / "two")])
    assert result.exit_code == 1 and "one: is a bundle; accepted: the checkpoint" in result.output
    assert not (tmp_path / "two").exists()


def test_another_models_profile_is_refused(checkpoint: Path, stock: Path, text: Path, tmp_path: Path) -> None:
    run("profile", checkpoint, text, "--out", tmp_path / "p.npz", "--part", "all")
    with np.load(tmp_path / "p.npz") as stored:
        arrays = {name: value for name, value in dict(stored).items() if not name.startswith("1.")}
    summary = json.loads(str(arrays["summary"]))
    arrays["summary"] = np.asarray(json.dumps({**summary, "layers": summary["layers"][:1]}))
    np.savez(tmp_path / "p.npz", **arrays)
    arguments = ["convert", str(checkpoint), str(tmp_path / "b"), "--profile", str(tmp_path / "p.npz")]
    result = CliRunner().invoke(sparse, arguments)
    assert result.exit_code == 1 and "profile of 1 layers of 96 neurons; the model has 2 of 96" in result.output


def test_hot_neurons_come_first_and_keep_their_order() -> None:
    order = np.array([4, 2, 0, 3, 1], np.int32)
    hot = most_frequent(np.array([0.1, 0.9, 0.0, 0.5, 0.1]), 0.8)
    np.testing.assert_array_equal(hot, [False, True, False, True, False])
    np.testing.assert_array_equal(hot_first(order, hot), [3, 1, 4, 2, 0])
    assert not most_frequent(np.zeros(4), 0.5).any() and not most_frequent(np.ones(4), 0.0).any()

"""Profiles: which neurons fire, how often, how strongly, together with which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.graph import LlamaGraph, PageTable
from fairlead_language_model.tokenizer import open_tokenizer
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.profile.coactivation import (
    chain_order,
    clusters_touched,
    jaccard,
    joint_counts,
    top_pairs,
)
from fairlead_sparse_inference.sparsity.profile.file import ProfileError, read_profile
from fairlead_sparse_inference.sparsity.profile.record import carrying_energy
from fairlead_sparse_inference.sparsity.profile.statistics import gini, hot_share, reuse, union_sizes


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(sparse, ["profile", *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_counts_what_the_graph_shows(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.npz"
    summary = run(checkpoint, text, "--out", out, "--part", "all", "--context", "32")
    profile, graph = read_profile(out), LlamaGraph.load(checkpoint)
    seen: list[np.ndarray] = []
    tokens = open_tokenizer(checkpoint).encode(text.read_text().strip())[:32]
    graph.forward(tokens, graph.pages(64), PageTable(), lambda layer, a: seen.append(a != 0))
    assert summary["tokens"] == profile.tokens and profile.tokens % 32 == 0
    for layer, active in zip(profile.layers, seen, strict=True):
        # The trace is of gates: where an activation is not zero its gate is not either.
        fires = np.unpackbits(layer.trace[:32], axis=1, count=96).astype(bool)
        assert (fires | ~active).all()
        assert layer.histogram.sum() == profile.tokens * 96
        zeros = profile.tokens * 96 - layer.counts.sum()
        assert 0 <= layer.histogram[0] - zeros < 1e-3 * zeros
        assert (layer.counts <= layer.gate_counts).all()
    assert json.loads(out.with_suffix(".json").read_text())["sparsity"] == summary["sparsity"]


def test_products_fire_less_often_than_gates(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    common = (checkpoint, text, "--part", "all", "--out", tmp_path / "p.npz")
    gate, product = run(*common), run(*common, "--fires", "product")
    for ours, theirs in zip(product["layers"], gate["layers"], strict=True):
        assert ours["sparsity"] == ours["product_sparsity"] == theirs["product_sparsity"] > theirs["sparsity"]
        assert ours["union"] == sorted(ours["union"]) and ours["union"][-1] <= 96


def test_plots_are_drawn_or_said_to_be_skipped(
    checkpoint: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    common = (checkpoint, text, "--part", "all", "--out", tmp_path / "p.npz", "--plots", tmp_path / "plots")
    drawn = [Path(name) for name in run(*common, "--plot-format", "svg")["plots"]]
    assert len(drawn) == 4 and all(path.read_text().count("<path") > 5 for path in drawn)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    result = CliRunner().invoke(sparse, ["profile", *map(str, common)], catch_exceptions=False)
    assert result.exit_code == 0 and "plots are skipped" in result.output


@pytest.mark.parametrize(
    ("model", "name", "says"),
    [
        (None, "nowhere.txt", "no such file"),
        ("nothing", None, "no such file or directory; accepted: a checkpoint, or a shipped model: tiny-drelu"),
        (None, "binary.txt", "binary.txt: byte 2 is no UTF-8 text"),
        (None, "empty.txt", "holds no text"),
        (None, "short.txt", "do not fill one window"),
    ],
)
def test_bad_input_is_one_line(
    checkpoint: Path, text: Path, tmp_path: Path, model: str | None, name: str | None, says: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "short.txt").write_text("Rain.")
    (tmp_path / "binary.txt").write_bytes(b"ab\xff\x00")
    source = text if name is None else tmp_path / name
    arguments = [str(model or checkpoint), str(source), "--out", str(tmp_path / "p.npz"), "--part", "all"]
    result = CliRunner().invoke(sparse, ["profile", *arguments])
    assert result.exit_code == 1 and says in result.output and len(result.output.splitlines()) == 1
    assert not (tmp_path / "p.npz").exists()


def test_a_damaged_profile_is_refused(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.npz"
    run(checkpoint, text, "--out", out, "--part", "all")
    whole = out.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        out.write_bytes(whole[:size])
        with pytest.raises(ProfileError, match=r"p\.npz: is no whole profile"):
            read_profile(out)
    with np.load(__import__("io").BytesIO(whole)) as stored:
        arrays = dict(stored)
    arrays["0.order"] = np.zeros(96, np.int32)
    np.savez(out, **arrays)
    with pytest.raises(ProfileError, match="layer 0: order is no permutation of 96 neurons"):
        read_profile(out)


def bits_of(fires: np.ndarray) -> np.ndarray:
    return np.packbits(fires, axis=1)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 60), st.floats(0, 1))
def test_orders_are_permutations_and_counts_are_those_of_loops(seed: int, n: int, tokens: int, p: float) -> None:
    fires = np.random.default_rng(seed).random((tokens, n)) < p
    counts = joint_counts(bits_of(fires), n)
    expected = sum(np.outer(row, row).astype(int) for row in fires)
    np.testing.assert_array_equal(counts, expected)
    index = jaccard(counts)
    order = chain_order(counts, index)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert clusters_touched(bits_of(fires), order, 1) == pytest.approx(fires.sum() / tokens)
    for pair in top_pairs(counts, index, 5, 1):
        two = fires[:, [pair.first, pair.second]]
        both, either = two.all(1).sum(), two.any(1).sum()
        assert pair.tokens == both and pair.jaccard == pytest.approx(both / either, abs=1e-4)


def test_neurons_that_fire_together_come_side_by_side() -> None:
    random = np.random.default_rng(5)
    groups = random.permutation(np.repeat(np.arange(16), 4))
    fires = (random.random((2000, 16)) < 0.1)[:, groups]
    bits = bits_of(fires)
    counts = joint_counts(bits, 64)
    order = chain_order(counts, jaccard(counts))
    assert all(len(set(groups[order[i : i + 4]])) == 1 for i in range(0, 64, 4))
    assert clusters_touched(bits, order, 4) < 0.5 * clusters_touched(bits, np.arange(64, dtype=np.int32), 4)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1))
def test_the_fewest_neurons_carry_the_energy(seed: int, share: float) -> None:
    x = np.random.default_rng(seed).normal(size=(3, 20)).astype(np.float32)
    marked = carrying_energy(x, share)
    squares = np.square(x.astype(np.float64))
    for row, chosen in zip(squares, marked, strict=True):
        kept = row[chosen].sum()
        assert kept >= share * row.sum() * (1 - 1e-5)
        assert kept - row[chosen].min() < share * row.sum() * (1 + 1e-5)
        assert row[chosen].min() >= row[~chosen].max(initial=0)


def test_skew_unions_and_reuse_of_known_patterns() -> None:
    assert gini(np.full(10, 0.3)) == pytest.approx(0)
    assert gini(np.eye(10)[0]) == pytest.approx(0.9)
    assert hot_share(np.full(10, 0.3)) == pytest.approx(0.8)
    assert hot_share(np.asarray([1.0, *[1e-9] * 9])) == pytest.approx(0.1)
    turns = bits_of(np.eye(4, dtype=bool)[np.arange(64) % 4])
    assert union_sizes(turns, None, (1, 2, 4, 8)) == [1, 2, 4, 4]
    assert (reuse(turns, 1, 16), reuse(turns, 3, 16), reuse(turns, 4, 16)) == (0, 0, 1)

"""Plans: the integer program against brute force, the cache against a plain one, and the command's promises."""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.placement import program
from fairlead_sparse_inference.sparsity.placement.file import PlanError, read_plan
from fairlead_sparse_inference.sparsity.placement.program import Problem, fewest_neurons, solve
from fairlead_sparse_inference.sparsity.placement.simulate import cluster_trace, simulate
from fairlead_sparse_inference.sparsity.placement.sizes import parse_bytes
from fairlead_sparse_inference.sparsity.placement.speeds import measure

SPEEDS = ["--disk-reads-per-s", "50000", "--disk-bandwidth", "1GB", "--memory-bandwidth", "10GB"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 6))
def test_the_program_finds_the_best_placement(seed: int, capacity: int, fewest: int) -> None:
    pytest.importorskip("highspy")
    random = np.random.default_rng(seed)
    frequencies = [random.random(4), random.random(6)]
    found = solve(Problem(frequencies, 10, 10 * capacity, fewest, batch=2))
    values = [np.sort(f)[::-1].reshape(-1, 2).sum(1) for f in frequencies]
    best = 0.0
    for taken in itertools.product([0, 1], repeat=5):
        sizes = (2 * sum(taken[:2]), 2 * sum(taken[2:]))
        if sum(sizes) <= capacity and all(size == 0 or size >= fewest for size in sizes):
            best = max(best, float(np.dot(taken, np.concatenate(values))))
    assert found.solver == "HiGHS" and found.value == pytest.approx(best)
    counts = [int(mask.sum()) for mask in found.pinned]
    assert sum(counts) <= capacity and all(count == 0 or count >= fewest for count in counts)


def test_the_greedy_rule_keeps_the_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError

    monkeypatch.setattr(program, "_highs", missing)
    monkeypatch.setattr(program, "_scipy", missing)
    frequencies = [np.array([0.9, 0.8, 0.1, 0.1]), np.array([0.85, 0.1, 0.1, 0.1])]
    found = solve(Problem(frequencies, 1, 3, 2, batch=1))
    assert found.solver == "greedy"
    assert [mask.tolist() for mask in found.pinned] == [[True, True, True, False], [False] * 4]


def test_handing_over_pays_from_the_count_that_the_paper_gives() -> None:
    count = fewest_neurons(1000, 10e9, 1e9, 30e-6)
    fast, slow = count * 1000 / 10e9 + 30e-6, count * 1000 / 1e9
    assert fast <= slow and (count - 1) * 1000 / 10e9 + 30e-6 > (count - 1) * 1000 / 1e9
    assert fewest_neurons(1000, 1e9, 10e9, 30e-6) > 1 << 30
    assert fewest_neurons(1000, 10e9, 1e9, 0) == 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 4), st.integers(1, 4))
def test_the_simulated_cache_is_a_plain_one(seed: int, slots: int, pinned: int, cluster: int) -> None:
    random = np.random.default_rng(seed)
    fires = [random.random((20, 12)) < 0.3 for _ in range(2)]
    order = random.permutation(12).astype(np.int32)
    wanted = cluster_trace([np.packbits(f, axis=1) for f in fires], [order, order], cluster)
    found = simulate(wanted, [pinned, 0], slots)
    cache: OrderedDict[tuple[int, int], None] = OrderedDict()
    read = asked = 0
    for token in range(20):
        for layer in range(2):
            for k in range(-(-12 // cluster)):
                if not fires[layer][token, order[k * cluster : (k + 1) * cluster]].any():
                    continue
                asked += token >= 10
                if k < (pinned, 0)[layer]:
                    continue
                if (layer, k) in cache:
                    cache.move_to_end((layer, k))
                    continue
                read += token >= 10
                cache[layer, k] = None
                if len(cache) > slots:
                    cache.popitem(last=False)
    assert (found.wanted, found.read) == (asked / 10, read / 10)


@pytest.fixture(scope="module")
def profile(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    (folder / "t.txt").write_text("The rain fell on the harbour all night. Who is there? said the pilot. " * 60)
    out = folder / "p.npz"
    arguments = [str(checkpoint), str(folder / "t.txt"), "--out", str(out), "--part", "all", "--context", "32"]
    result = CliRunner().invoke(sparse, ["profile", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def plan(checkpoint: Path, profile: Path, out: Path, memory: str, *more: str) -> Any:
    arguments = [str(checkpoint), "--profile", str(profile), "--memory", memory, "--out", str(out), *SPEEDS, *more]
    return CliRunner().invoke(sparse, ["plan", *arguments], catch_exceptions=False)


def test_more_memory_never_reads_more_and_all_of_it_reads_nothing(
    checkpoint: Path, profile: Path, tmp_path: Path
) -> None:
    reads: list[float] = []
    common = (checkpoint, profile, tmp_path / "plan.json")
    fixed = json.loads(plan(*common, "10MiB", "--context", "32", "--json").stdout)["fixed_bytes"]
    for cache in (24 << 10, 36 << 10, 1 << 20):
        result = plan(*common, str(fixed + cache), "--context", "32", "--json")
        assert result.exit_code == 0, result.output
        content = json.loads(result.stdout)
        reads.append(content["predicted"]["reads_a_token"])
        used = content["predicted"]["pinned_bytes"] + content["predicted"]["cache_slots"] * content["cluster_bytes"]
        assert content["fixed_bytes"] + min(used, content["cache_bytes"]) <= content["budget_bytes"]
        stored = read_plan(tmp_path / "plan.json", 2, 96)
        for mask, layer in zip(stored.pinned(), stored.content["layers"], strict=True):
            assert mask.sum() + len(layer["hot"]) + layer["cold"] == 96
            assert not mask[layer["hot"]].any()
    assert reads == sorted(reads, reverse=True) and reads[0] > 0 and reads[-1] == 0


def test_a_budget_below_the_minimum_says_what_is_needed(checkpoint: Path, profile: Path, tmp_path: Path) -> None:
    result = plan(checkpoint, profile, tmp_path / "plan.json", "1KiB")
    assert result.exit_code == 1 and "memory 1024 bytes: accepted: " in result.output
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(("text", "size"), [("64MiB", 64 << 20), ("1.5 GB", 1_500_000_000), ("17", 17), ("2kib", 2048)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    with pytest.raises(ValueError, match="accepted: a number with B"):
        parse_bytes(text + "x")


def test_speeds_are_measured_on_a_real_file(tmp_path: Path) -> None:
    found = measure(tmp_path, 4096, duration_s=0.1, file_bytes=8 << 20)
    assert found.disk_reads_per_s > 10 and found.disk_bytes_per_s > 1e5 and found.memory_bytes_per_s > 1e8
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_is_none_names_its_option(checkpoint: Path, profile: Path, tmp_path: Path) -> None:
    result = plan(checkpoint, profile, tmp_path / "plan.json", "lots")
    assert result.exit_code == 2 and "'--memory': size 'lots': accepted: a number with B" in result.output
    assert "measuring" not in result.output


def test_another_models_plan_is_refused(checkpoint: Path, profile: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    assert plan(checkpoint, profile, out, "10MiB").exit_code == 0
    for layers, neurons, says in ((3, 96, "plan of 2 layers; the model has 3"), (2, 5, "accepted: neurons 0 to 4")):
        with pytest.raises(PlanError, match=says):
            read_plan(out, layers, neurons)
    out.write_text("{}")
    with pytest.raises(PlanError, match="is no plan"):
        read_plan(out, 2, 96)

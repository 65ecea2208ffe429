"""Predictors: trained on text, gated by recall and perplexity, read back as they were written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.graph import LlamaGraph
from fairlead_sparse_inference.bundle import NetworkName
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.model import load_model
from fairlead_sparse_inference.sparsity.perplexity.compare import Reference
from fairlead_sparse_inference.sparsity.perplexity.modes import Exact, Predicted
from fairlead_sparse_inference.sparsity.perplexity.score import score
from fairlead_sparse_inference.sparsity.predictor.budget import Curve, spend
from fairlead_sparse_inference.sparsity.predictor.calibrate import calibrated, quality, relative_cost
from fairlead_sparse_inference.sparsity.predictor.examples import Examples, capture_inputs, examples
from fairlead_sparse_inference.sparsity.predictor.file import PredictorError, read_predictors, write_predictors
from fairlead_sparse_inference.sparsity.predictor.fit import Recipe, fit, has_torch
from fairlead_sparse_inference.sparsity.predictor.network import Predictor, first_rank, from_weights
from fairlead_sparse_inference.sparsity.text import read_windows

HIDDEN, NEURONS = 64, 96
NETWORKS = [NetworkName(layer, NEURONS) for layer in range(2)]
QUICK = "--tokens 512 --held-tokens 256 --test-tokens 128 --context 32 --epochs 2".split()  # noqa: SIM905


def run(command: str, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(sparse, [command, *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.stdout.startswith("{"), result.output
    return result.exit_code, json.loads(result.stdout)


def synthetic(seed: int, tokens: int = 600) -> tuple[Examples, np.ndarray]:
    """Neurons that fire where a low-rank gate is far above zero."""
    random = np.random.default_rng(seed)
    gate = random.normal(size=(NEURONS, 8)) @ random.normal(size=(8, HIDDEN)) / 8
    x = random.normal(size=(tokens, HIDDEN)).astype(np.float32)
    adds = np.maximum(x @ gate.T - 4, 0).astype(np.float32)
    return Examples(x, adds, int((adds > 0).sum())), gate.astype(np.float32)


def random_predictor(seed: int, rank: int = 32) -> Predictor:
    random = np.random.default_rng(seed)
    shapes = ((rank, HIDDEN), (NEURONS, rank), (NEURONS,))
    return Predictor(*(random.normal(size=shape).astype(np.float32) for shape in shapes), threshold=0.25)


@pytest.mark.parametrize("use_torch", [False, True])
def test_training_finds_what_fires(use_torch: bool) -> None:
    if use_torch and not has_torch():
        pytest.skip("PyTorch is not installed")
    (data, gate), (held, _) = synthetic(1), synthetic(1, 900)
    held = Examples(held.inputs[600:], held.adds[600:], 0)
    start = from_weights(gate, 32, np.random.default_rng(0))
    made = fit(start, data, Recipe(epochs=20, batch=64), use_torch).rounded()
    before, after = (quality(calibrated(p, held, 0.99), held) for p in (random_predictor(0), made))
    assert after.weighted_recall >= 0.99 and before.weighted_recall >= 0.99
    assert after.predicted < 0.5 * before.predicted
    assert after.precision > 0.4
    assert relative_cost(made, after, 2048, 8192) > 0


def test_numpy_and_torch_take_the_same_steps() -> None:
    if not has_torch():
        pytest.skip("PyTorch is not installed")
    data, gate = synthetic(3, 256)
    start, recipe = from_weights(gate, 32, np.random.default_rng(0)), Recipe(epochs=2, batch=64)
    ours, theirs = (fit(start, data, recipe, use_torch) for use_torch in (False, True))
    for name in ("a", "b", "bias"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=2e-4)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 0.999))
def test_a_calibrated_threshold_never_finds_less_than_is_asked_for(seed: int, recall: float) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(20, HIDDEN)).astype(np.float32)
    adds = np.maximum(random.normal(size=(20, NEURONS)) - 1, 0).astype(np.float32)
    held = Examples(x, adds, 0)
    loose, tight = (calibrated(random_predictor(seed % 100), held, r) for r in (recall, 1 - (1 - recall) / 2))
    assert quality(loose, held).weighted_recall >= recall - 1e-6
    assert tight.threshold <= loose.threshold
    nothing = Examples(x, np.zeros_like(adds), 0)
    assert quality(calibrated(loose, nothing, recall), nothing).predicted < 0.01


def test_the_svd_start_is_the_gate_itself_at_full_rank() -> None:
    random = np.random.default_rng(0)
    gate = random.normal(size=(NEURONS, 16)).astype(np.float32)
    start, x = from_weights(gate, 32, np.random.default_rng(1)), random.normal(size=(50, 16)).astype(np.float32)
    assert np.corrcoef(start.scores(x).ravel(), (x @ gate.T).ravel())[0, 1] > 0.98


def test_sparser_and_more_skewed_layers_start_smaller() -> None:
    dense, sparse_, skewed = (first_rank(8192, 2048, *s) for s in ((0.3, 0.2), (0.05, 0.2), (0.05, 0.8)))
    assert 2048 >= dense > sparse_ > skewed >= 32 and dense % 32 == sparse_ % 32 == skewed % 32 == 0


@pytest.mark.parametrize("how", ["--numpy", "--torch"])
def test_the_command_reports_what_the_file_then_does(checkpoint: Path, text: Path, tmp_path: Path, how: str) -> None:
    if how == "--torch" and not has_torch():
        pytest.skip("PyTorch is not installed")
    out = tmp_path / "p.safetensors"
    code, report = run("train-predictor", checkpoint, text, "--out", out, *QUICK, how, "--perplexity-budget", "0.05")
    assert code == (0 if report["allowed"] else 3)
    predictors, stored = read_predictors(out, NETWORKS, HIDDEN)
    assert stored["layers"] == report["layers"] and report["calibrated_recall"] is None
    model = load_model(checkpoint)
    test = read_windows(text, "test", model.tokenizer, model.config, 128, 32)
    assert report["test_exact"]["perplexity"] == pytest.approx(score(model, test.rows).perplexity, rel=1e-4)
    predicted = score(model, test.rows, Predicted(model.graph, list(predictors.values())))
    assert report["test_predicted"]["perplexity"] == pytest.approx(predicted.perplexity, rel=1e-4)
    for layer, predictor in zip(report["layers"], predictors.values(), strict=True):
        assert str(predictor.rank) in layer["tried"] and layer["weighted_recall"] > 0.5
    scored = run("perplexity", checkpoint, text, "--predictors", out, "--part", "validation", "--context", "32")[1]
    assert scored["modes"]["exact"]["rise"] == 0 and set(scored["modes"]) == {"exact", "predictor"}
    assert max(scored["modes"]["predictor"]["computed"]) <= 1


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4096))
def test_a_curve_says_what_a_threshold_reads_and_leaves_out(seed: int, index: int) -> None:
    random = np.random.default_rng(seed)
    adds = np.maximum(random.normal(size=(20, NEURONS)) - 1, 0).astype(np.float32)
    held = Examples(random.normal(size=(20, HIDDEN)).astype(np.float32), adds, 0)
    predictor = random_predictor(seed % 100)
    curve = Curve.of(predictor, held, 2)
    assert (np.diff(curve.reads) <= 0).all() and (np.diff(curve.missed) >= 0).all()
    named = replace(predictor, threshold=curve.threshold(index)).predict(held.inputs)
    energy = np.square(adds.astype(np.float64))
    assert curve.reads[index] == pytest.approx((named * (1 + 2 * (adds > 0))).sum(), abs=3)
    assert curve.missed[index] == pytest.approx(np.where(named, 0, energy).sum(), rel=1e-5, abs=energy.max())
    free, dear = curve.at_price(0), curve.at_price(1e12)
    assert curve.reads[free] == 0 and curve.missed[dear] == 0


def test_a_budget_is_spent_where_it_saves_the_most(checkpoint: Path, text: Path) -> None:
    model = load_model(checkpoint)
    layers = list(model.graph.weights.layers)
    layers[1] = replace(layers[1], down=layers[1].down / 30, down_t=None)  # hardly matters to the output
    graph = LlamaGraph(model.config, replace(model.graph.weights, layers=tuple(layers)))
    model = replace(model, graph=graph)
    rows = read_windows(text, "all", model.tokenizer, model.config, 256, 32).rows
    held = capture_inputs(model, rows, lambda: None)
    start = {
        f"layers.{i}": from_weights(layer.gate, 64, np.random.default_rng(i)).rounded()
        for i, layer in enumerate(layers)
    }
    reference = Reference(model, rows)
    shares: list[list[float]] = []
    for budget in (0.002, 0.05):
        spent = spend(model, start, held, reference, budget, lambda _: None)
        assert spent.allowed and 0 < spent.cost.spent <= budget
        run = Predicted(model.graph, list(spent.predictors.values()))
        assert score(model, rows, run).moved_from(score(model, rows))[0] == pytest.approx(spent.cost.rise, abs=1e-4)
        shares.append(run.shares.of(run.shares.kept))
    assert shares[0][1] < 0.6 * shares[0][0]
    assert shares[1][0] < shares[0][0] < 1


def test_the_divergence_of_the_same_model_is_zero(checkpoint: Path, text: Path) -> None:
    model = load_model(checkpoint)
    rows = read_windows(text, "all", model.tokenizer, model.config, 96, 32).rows
    nothing = [Predictor(*(np.zeros(s, np.float32) for s in ((32, 64), (96, 32), (96,))), threshold=1)] * 2
    reference = Reference(model, rows)
    same, other = reference.compare([Exact(model.graph), Predicted(model.graph, nothing)])
    assert (same.divergence, same.rise, same.spent) == (0, 0, 0)
    assert other.divergence > 0.01 and other.spent >= max(other.rise, other.divergence)
    np.testing.assert_allclose(same.exact.losses, score(model, rows).losses, rtol=1e-6)
    some = reference.compare([Predicted(model.graph, nothing)], [1])[0]
    assert some.exact.losses == pytest.approx(same.exact.losses[1:2])


def test_thresholds_are_set_anew_without_training(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    made, again = tmp_path / "p.safetensors", tmp_path / "again.safetensors"
    command = ("train-predictor", checkpoint, text, *QUICK, "--numpy")
    run(*command, "--out", made, "--recall", "0.999", "--perplexity-budget", "1")
    loose = run(*command, "--out", again, "--calibrate", made, "--perplexity-budget", "0.5")[1]
    first, second = (read_predictors(path, NETWORKS, HIDDEN)[0] for path in (made, again))
    assert all((first[name].b == second[name].b).all() for name in first)
    assert all(second[name].threshold > first[name].threshold for name in first)
    assert loose["trained_with"] == "p.safetensors" and loose["tokens"]["train"] == 0
    assert [layer["tried"] for layer in loose["layers"]] == [
        layer["tried"] for layer in read_predictors(made, NETWORKS, HIDDEN)[1]["layers"]
    ]


def test_all_neurons_predicted_is_exact_mode(checkpoint: Path, text: Path) -> None:
    model = load_model(checkpoint)
    rows = read_windows(text, "all", model.tokenizer, model.config, 64, 32).rows
    everything = [Predictor(*(np.zeros(s, np.float32) for s in ((32, 64), (96, 32), (96,))), threshold=-1)] * 2
    nothing = [Predictor(*(np.zeros(s, np.float32) for s in ((32, 64), (96, 32), (96,))), threshold=1)] * 2
    exact = score(model, rows)
    np.testing.assert_array_equal(score(model, rows, Predicted(model.graph, everything)).losses, exact.losses)
    assert score(model, rows, Predicted(model.graph, nothing)).loss != exact.loss


def test_captured_inputs_give_the_graphs_activations(checkpoint: Path, text: Path) -> None:
    model = load_model(checkpoint)
    rows = read_windows(text, "all", model.tokenizer, model.config, 64, 32).rows
    seen: list[np.ndarray] = []
    graph = model.graph
    from fairlead_language_model.graph import PageTable

    graph.forward(rows[0, :-1].tolist(), graph.pages(64), PageTable(), lambda layer, a: seen.append(a))
    for layer, inputs in enumerate(capture_inputs(model, rows, lambda: None)):
        ((_, found),) = examples(model, layer, inputs)
        np.testing.assert_array_equal(found.fires[:32], seen[layer] != 0)


def test_a_model_without_zeros_is_refused(text: Path, stock: Path, tmp_path: Path) -> None:
    arguments = ["train-predictor", str(stock), str(text), "--out", str(tmp_path / "p")]
    result = CliRunner().invoke(sparse, arguments)
    assert result.exit_code == 1 and "activation silu: accepted: drelu, relu" in result.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("layers.1.predictor.b"), r"layers\.1\.predictor\.b: is missing"),
        (lambda t: t.update({"layers.0.predictor.bias": np.zeros(7, np.float32)}), r"shape \(7,\); the model asks"),
        (lambda t: t.update({"layers.0.predictor.a": np.full((32, 64), np.nan, np.float32)}), "not finite"),
        (
            lambda t: [t.pop(n) for n in list(t) if n.startswith("layers.1.")],
            "of 1 networks; the model has",
        ),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "p.safetensors"
    write_predictors({f"layers.{i}": random_predictor(i) for i in (0, 1)}, {"n": 1}, path)
    read, report = read_predictors(path, NETWORKS, HIDDEN)
    np.testing.assert_array_equal(read["layers.1"].b, random_predictor(1).b)
    assert (read["layers.0"].threshold, report) == (0.25, {"n": 1})
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(PredictorError, match=says):
        read_predictors(path, NETWORKS, HIDDEN)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PredictorError, match="is no whole predictors' file"):
        read_predictors(path, NETWORKS, HIDDEN)

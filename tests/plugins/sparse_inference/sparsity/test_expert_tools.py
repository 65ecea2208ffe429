"""The tools on mixtures of experts: profiles and predictors by expert, taken into a bundle that is then served."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_sparse_inference.bundle import all_networks, open_bundle
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.model import gate_and_activations, load_model
from fairlead_sparse_inference.sparsity.networks import routed
from fairlead_sparse_inference.sparsity.perplexity.modes import Predicted, layer_choices
from fairlead_sparse_inference.sparsity.perplexity.score import score
from fairlead_sparse_inference.sparsity.predictor.examples import capture_inputs, examples
from fairlead_sparse_inference.sparsity.predictor.file import read_predictors
from fairlead_sparse_inference.sparsity.predictor.network import Predictor
from fairlead_sparse_inference.sparsity.profile.file import read_profile
from fairlead_sparse_inference.sparsity.text import read_windows
from fairlead_sparse_inference.sparsity.threshold.cut import Cut
from tests.plugins.sparse_inference.conftest import greedy
from tests.plugins.sparse_inference.conftest import run as serve
from tests.plugins.sparse_inference.experts import FAMILIES, random_experts


def run(command: str, *arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(sparse, [command, *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Mixtral with ReLU gates."""
    return random_experts(tmp_path_factory.mktemp("tools") / "mixtral", "mixtral", hidden_act="relu")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2-MoE with ReLU gates, a shared expert and one dense layer."""
    return random_experts(tmp_path_factory.mktemp("tools") / "qwen", "qwen2_moe", hidden_act="relu")


def test_what_networks_do_adds_up_to_the_layer(qwen: Path, text: Path) -> None:
    model = load_model(qwen)
    rows = read_windows(text, "all", model.tokenizer, model.config, 64, 32).rows
    for layer, inputs in enumerate(capture_inputs(model, rows, lambda: None)):
        gate, activations = gate_and_activations(model.graph, layer, inputs)
        np.testing.assert_allclose(activations, model.graph.activations(layer, inputs), rtol=1e-4, atol=1e-6)
        assert ((gate > 0) >= (activations != 0)).all()
        found = list(examples(model, layer, inputs))
        assert sum(len(one.inputs) for _, one in found) == len(inputs) * (1 if layer == 0 else 3)
        fires = sum(int(one.fires.sum()) for _, one in found)
        assert fires == np.count_nonzero(activations)


def test_all_neurons_predicted_is_exact_mode(qwen: Path, text: Path) -> None:
    model = load_model(qwen)
    rows = read_windows(text, "all", model.tokenizer, model.config, 64, 32).rows

    def made(threshold: float) -> dict[str, Predictor]:
        shapes = {str(name): ((32, 64), (name.neurons, 32), (name.neurons,)) for name in all_networks(model.config)}
        return {
            name: Predictor(*(np.zeros(size, np.float32) for size in sizes), threshold=threshold)
            for name, sizes in shapes.items()
        }

    exact = score(model, rows)
    every = Predicted(model.graph, layer_choices(model.graph, made(-1)))
    np.testing.assert_allclose(score(model, rows, every).losses, exact.losses, rtol=1e-5)
    assert every.shares.of(every.shares.kept) == [1.0, 1.0]
    nothing = made(1)
    assert score(model, rows, Predicted(model.graph, layer_choices(model.graph, nothing))).loss != exact.loss
    # Experts without a predictor are exact.
    none: dict[str, Predictor] = {}
    assert score(model, rows, Predicted(model.graph, layer_choices(model.graph, none))).loss == pytest.approx(
        exact.loss, rel=1e-5
    )


def test_a_profile_counts_experts_and_their_neurons(qwen: Path, text: Path, tmp_path: Path) -> None:
    shown = ("--plots", tmp_path / "plots") if find_spec("matplotlib") else ()
    made = run("profile", qwen, text, "--out", tmp_path / "p.npz", "--part", "all", "--context", "32", *shown)
    assert not shown or any("profile-experts" in plot for plot in made["plots"])
    found = {layer["network"]: layer for layer in made["layers"]}
    assert list(found) == [str(name) for name in all_networks(load_model(qwen).config)]
    uses = [layer["use"] for name, layer in found.items() if ".experts." in name]
    assert sum(uses) == pytest.approx(2, abs=0.01) and found["layers.1.shared_expert"]["use"] == 1
    profile = read_profile(tmp_path / "p.npz")
    busiest, idlest = (f"layers.1.experts.{choose(uses)}" for choose in (np.argmax, np.argmin))
    run("convert", qwen, tmp_path / "b", "--profile", tmp_path / "p.npz", "--hot-coverage", "0.3")
    networks, bundle = open_bundle(tmp_path / "b").networks, open_bundle(tmp_path / "b")
    assert networks[busiest].hot > networks[idlest].hot
    for name, frequencies in zip(found, profile.frequencies(), strict=True):
        hot, order = networks[name].hot, bundle.order(name)
        if 0 < hot < len(order):
            assert frequencies[order[:hot]].min() >= frequencies[order[hot:]].max()


@pytest.mark.parametrize("family", ["mixtral", "qwen"])
def test_experts_have_predictors_of_their_own(
    family: str, text: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, out = request.getfixturevalue(family), tmp_path / "p.safetensors"
    sizes = ("--tokens", "512", "--held-tokens", "128", "--test-tokens", "128", "--context", "32")
    # Random experts are chosen about equally often: only some have as many tokens as this.
    report = run(
        "train-predictor",
        source,
        text,
        "--out",
        out,
        *sizes,
        "--epochs",
        "2",
        "--numpy",
        "--perplexity-budget",
        "0.05",
        "--fewest-samples",
        "170",
    )
    model = load_model(source)
    names = [str(name) for name in all_networks(model.config)]
    trained = [layer["network"] for layer in report["layers"]]
    assert report["without_predictor"] and sorted([*trained, *report["without_predictor"]]) == sorted(names)
    for layer in report["layers"]:
        assert ".experts." not in layer["network"] or layer["samples"][0] >= 170
    inputs = capture_inputs(
        model, read_windows(text, "train", model.tokenizer, model.config, 512, 32).rows, lambda: None
    )
    counts = {str(n.name): len(n.tokens) for i, part in enumerate(inputs) for n in routed(model.graph, i, part)}
    assert all(counts[name] < 170 for name in report["without_predictor"] if counts[name] < 160)
    predictors, stored = read_predictors(out, all_networks(model.config), model.config.hidden_size)
    assert list(predictors) == trained and stored["layers"] == report["layers"]
    run("convert", source, tmp_path / "b", "--predictors", out)
    scored = run("perplexity", tmp_path / "b", text, "--part", "all", "--context", "32", "--tokens", "64")
    assert set(scored["modes"]) == {"exact", "predictor"}
    assert max(scored["modes"]["predictor"]["computed"]) <= 1
    served: list[list[int]] = []
    for streamed in (False, True):
        engine = Engine(SparseModel.load(tmp_path / "b", mode="predictor", streamed=streamed), prefix_cache=False)
        try:
            served.append(serve(engine, greedy([5, 9, 20, 31], 20)).tokens)
            told = engine.telemetry.by_field()
        finally:
            engine.close()
        assert told["computed"].sum() > 0 and told["predictor_ns"].any()
    assert served[0] == served[1]


@pytest.mark.parametrize("family", ["mixtral", "qwen"])
def test_thresholds_leave_out_weak_neurons_of_the_chosen_experts(
    family: str, text: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, out = request.getfixturevalue(family), tmp_path / "t.json"
    sizes = ("--tokens", "256", "--held-tokens", "128", "--context", "32")
    content = run("threshold", source, text, "--out", out, *sizes, "--sparsity", "0.5", "--sparsity", "0.8")
    for level in content["levels"]:
        assert abs(level["measured_sparsity"] - max(level["sparsity"], 0.5)) < 0.1
    scored = run("perplexity", source, text, "--thresholds", out, "--part", "all", "--context", "32", "--tokens", "64")
    assert set(scored["modes"]) == {"exact", "threshold 50%", "threshold 80%"}
    model = load_model(source)
    rows = read_windows(text, "all", model.tokenizer, model.config, 64, 32).rows
    nothing = Cut(model.graph, [0.0] * model.config.num_hidden_layers)
    np.testing.assert_allclose(score(model, rows, nothing).losses, score(model, rows).losses, rtol=1e-5)


def test_too_little_text_for_every_expert_is_refused(mixtral: Path, text: Path, tmp_path: Path) -> None:
    arguments = ["train-predictor", mixtral, text, "--out", tmp_path / "p", "--tokens", "256", "--context", "32"]
    result = CliRunner().invoke(sparse, [*map(str, arguments), "--fewest-samples", "100000"])
    assert result.exit_code == 1
    assert "no network has 100000 tokens to learn from; accepted: more text" in result.output


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "smallthinker"])
def test_perplexity_of_stock_experts(family: str, text: Path, tmp_path: Path) -> None:
    scored = run(
        "perplexity", random_experts(tmp_path, family), text, "--part", "all", "--context", "32", "--tokens", "64"
    )
    assert scored["modes"]["exact"]["computed"] == [1.0, 1.0]


def test_a_router_before_the_attention_is_refused(text: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(sparse, ["perplexity", str(random_experts(tmp_path, "smallthinker")), str(text)])
    assert result.exit_code == 1
    assert "accepted: models whose routers look at the input of their experts" in result.output

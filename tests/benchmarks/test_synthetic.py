"""The synthetic model: frequencies, thresholds, orientation, and that decoding walks through the text."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.synthetic import bundle_directory, gguf_files, weights
from benchmarks.synthetic.activations import PredictorShares, SourceLayer, factored, predictor_shares, scaled
from benchmarks.synthetic.disk_order import TIERS, disk_order
from benchmarks.synthetic.shape import FIRST_STATE, Shape
from benchmarks.synthetic.store import prepared
from fairlead_language_model.graph import KVPages
from fairlead_sparse_inference.engine.model import SparseModel
from fairlead_sparse_inference.sparsity.model import load_model
from fairlead_sparse_inference.sparsity.predictor.file import write_predictors
from fairlead_sparse_inference.sparsity.predictor.network import Predictor, from_weights
from fairlead_sparse_inference.train.layout import write_checkpoint
from fairlead_sparse_inference.train.tokenizer import train_tokenizer
from tests.plugins.sparse_inference.conftest import SHAPE as TINY
from tests.plugins.sparse_inference.conftest import TEXT, random_weights

SHAPE = Shape(hidden=256, neurons=512, layers=2, heads=4, vocabulary=512)


@pytest.fixture(scope="module")
def source() -> list[SourceLayer]:
    random = np.random.default_rng(5)
    gates = [
        (random.standard_normal((SHAPE.states, 24)) @ random.standard_normal((24, 96)) - 4).astype(np.float32)
        for _ in range(2)
    ]
    return [factored(gate, SHAPE.components(2)) for gate in gates]


@pytest.fixture(scope="module")
def model(source: list[SourceLayer]) -> weights.SyntheticModel:
    return weights.build(SHAPE, source, seed=3)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(0.05, 0.5))
def test_frequencies_are_shifted_to_a_mean_and_keep_their_order(values: list[float], mean: float) -> None:
    before = np.asarray(values, np.float32)
    after = scaled([before], mean, 1e-3)[0]
    assert abs(float(after.mean()) - mean) < 1e-3
    assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-6).all()


def test_factors_give_back_the_gate_up_to_each_neurons_scale() -> None:
    random = np.random.default_rng(1)
    gate = (random.standard_normal((60, 5)) @ random.standard_normal((5, 12))).astype(np.float32)
    layer = factored(gate, 8)
    assert layer.code.shape == (60, 5)
    size = np.sqrt(np.square(gate).mean(axis=0))
    np.testing.assert_allclose(layer.code @ layer.loadings.T, gate / size, atol=1e-3)
    np.testing.assert_allclose(layer.frequency, (gate > 0).mean(axis=0), atol=1e-6)


def test_active_share_recall_and_orientation(model: weights.SyntheticModel) -> None:
    assert abs(np.mean([layer.active for layer in model.layers]) - SHAPE.active) < 0.02
    for layer in model.layers:
        assert layer.recall > 0.95
        assert layer.active < layer.predicted < 1
        np.testing.assert_array_equal(weights.dequantize(layer.down).T, weights.dequantize(layer.down_t))


def test_predictors_find_and_name_as_much_as_the_real_ones(source: list[SourceLayer]) -> None:
    real = (PredictorShares(0.9, 2.5), PredictorShares(0.7, 1.2))
    made = weights.build(SHAPE, [replace(one, predictor=p) for one, p in zip(source, real, strict=True)], seed=3)
    for layer, wanted in zip(made.layers, real, strict=True):
        assert layer.recall == pytest.approx(wanted.recall, abs=0.02)
        assert layer.predicted / layer.active >= 0.95 * wanted.named
    named = [layer.predicted / layer.active for layer in made.layers]
    assert named[0] > named[1]
    plain = weights.build(SHAPE, source, seed=3)
    assert (plain.layers[0].gate == made.layers[0].gate).all(), "only the predictors differ"


def test_what_a_predictor_does_is_counted_by_gates_above_zero() -> None:
    zero = np.zeros((32, 32), np.float32)
    predictor = Predictor(zero, np.zeros((4, 32), np.float32), np.array([1, 1, -1, -1], np.float32))
    gate = np.array([[1, -1, 2, -1], [3, 1, -1, -1]], np.float32)
    found = predictor_shares(predictor, np.zeros((2, 32), np.float32), gate)
    assert (found.recall, found.named) == (3 / 4, 4 / 4)


def test_same_seed_same_bytes(source: list[SourceLayer], model: weights.SyntheticModel) -> None:
    again = weights.build(SHAPE, source, seed=3)
    other = weights.build(SHAPE, source, seed=4)
    assert (again.layers[1].gate == model.layers[1].gate).all()
    assert (other.layers[1].gate != model.layers[1].gate).any()


@pytest.mark.parametrize("mode", ["exact", "predictor"])
def test_decoding_walks_through_the_states(model: weights.SyntheticModel, tmp_path: Path, mode: str) -> None:
    bundle_directory.write_directory(model, tmp_path / "bundle")
    loaded = SparseModel.load(tmp_path / "bundle", mode=mode, streamed=False)
    pages, table = KVPages(loaded.config, 4, 16), np.arange(4, dtype=np.int32)
    decoder, token = loaded.decoder(pages), FIRST_STATE + 40
    active: list[float] = []
    for position in range(24):
        result = decoder.step(token, position, table)
        token = SHAPE.successor(token)
        assert int(result.logits.argmax()) == token
        active.append(float(result.active.mean()) / SHAPE.neurons)
    assert 0.03 < np.mean(active) < 0.3


def test_files_for_peers(model: weights.SyntheticModel, tmp_path: Path) -> None:
    gguf_files.write_dense(model, tmp_path / "dense.gguf")
    gguf_files.write_powerinfer(model, tmp_path / "sparse.gguf")
    assert (tmp_path / "dense.gguf").read_bytes()[:4] == b"GGUF"
    assert (tmp_path / "sparse.gguf").read_bytes()[:4] == gguf_files.POWERINFER_MAGIC
    loaded = SparseModel.load(tmp_path / "dense.gguf")
    bundle_directory.write_directory(model, tmp_path / "bundle")
    query = SparseModel.load(tmp_path / "bundle", streamed=False).weights.layers[0].query.dequantize()
    # A stock GGUF is taken with 8 bits, which moves weights a little; rotary rows must be back in their order.
    np.testing.assert_allclose(loaded.weights.layers[0].query.dequantize(), query, atol=0.01)
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["hidden_act"] == "relu"


def test_prompt_text_has_one_character_a_token() -> None:
    tokens = [FIRST_STATE + 1, FIRST_STATE + 7]
    names = gguf_files.pieces(SHAPE.vocabulary)
    assert [names.index(letter) for letter in gguf_files.prompt_text(tokens)] == tokens
    assert len(set(names)) == SHAPE.vocabulary


def test_files_are_made_anew_for_other_predictors_and_found_again(tmp_path: Path) -> None:
    checkpoint, text = tmp_path / "tiny", tmp_path / "books"
    write_checkpoint(checkpoint, TINY, random_weights(TINY, 7), train_tokenizer([TEXT], TINY.vocabulary))
    text.mkdir()
    for number in range(30):
        (text / f"{number}.md").write_text(f"Book {number}. " + TEXT)
    gates = [layer.gate for layer in load_model(checkpoint).graph.weights.layers]
    paths: list[Path] = []
    for threshold in (1.0, -1.0):
        random = np.random.default_rng(0)
        made = {
            f"layers.{i}": replace(from_weights(gate, 64, random), threshold=threshold) for i, gate in enumerate(gates)
        }
        paths.append(tmp_path / f"{threshold}.safetensors")
        write_predictors(made, {}, paths[-1])

    def facts(predictors: Path | None) -> dict[str, Any]:
        files = prepared(SHAPE, checkpoint, text, tmp_path / "made", 1, peers=False, predictors=predictors)
        assert (files.bundle / "neurons.bin").exists()
        return {**files.facts, "changed": (files.bundle / "neurons.bin").stat().st_mtime_ns}

    strict, loose, plain = facts(paths[0]), facts(paths[1]), facts(None)
    assert strict["recall"] < loose["recall"] and strict["predicted"] < loose["predicted"]
    assert len({strict["predictors"], loose["predictors"], plain["predictors"]}) == 3 and plain["predictors"] is None
    assert plain["recall"] == pytest.approx(weights.RECALL, abs=0.02)
    assert facts(None) == plain, "what is there is kept"


def test_the_file_keeps_frequent_neurons_first_and_neighbours_are_active_together() -> None:
    random = np.random.default_rng(2)
    frequency = np.linspace(0.02, 0.5, 40).repeat(2)
    # Neurons come in pairs that are always active together, wherever they lie.
    once = random.random((4000, 40)) < np.linspace(0.02, 0.5, 40)
    place = random.permutation(80)
    active = once.repeat(2, axis=1)[:, place]
    order = disk_order(active)
    assert sorted(order.tolist()) == list(range(80))
    ends = [0, *(round(share * 80) for share in TIERS)]
    means = [frequency[place[order[start:end]]].mean() for start, end in itertools.pairwise(ends)]
    assert means == sorted(means, reverse=True)
    pairs = place[order] // 2
    assert (pairs[ends[1] :: 2] == pairs[ends[1] + 1 :: 2]).mean() > 0.9
    # What the prompts read decides nothing.
    changed = active.copy()
    changed[: len(active) // 2] = ~changed[: len(active) // 2]
    np.testing.assert_array_equal(disk_order(changed), order)

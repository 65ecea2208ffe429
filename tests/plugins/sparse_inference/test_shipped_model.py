"""The model that ships: small, sparse, readable by the engine, and equal to its PyTorch twin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead_kernels.work import ACTIVE, COMPUTED
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.settings import MODELS, Settings

from .conftest import greedy, run

MODEL = MODELS / "tiny-drelu"
PROMPTS = ("It was a bright cold day in", "“You are mistaken,” said the", "The sea was")

pytestmark = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the model is not in this checkout")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(SparseModel.load(Settings().model_path))
    yield engine
    engine.close()


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 20 * 2**20
    card = (MODEL / "MODEL_CARD.md").read_text()
    for word in ("perplexity", "validation", "test, Q8_0", "Licence", "Limits"):
        assert word in card


def test_answers_equal_the_torch_model(engine: Engine) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from fairlead_sparse_inference.train.export import load_exported

    reference, tokenizer = load_exported(MODEL), engine.model.tokenizer
    for prompt in PROMPTS:
        tokens = tokenizer.encode(prompt)
        got = run(engine, greedy(tokens, 24))
        assert got.finish is not None
        with torch.no_grad():
            logits = reference(torch.tensor([tokens + got.tokens]))[0, len(tokens) - 1 :]
        chosen = logits[: len(got.tokens)].argmax(-1).tolist()
        assert got.tokens == chosen, prompt


def test_its_neurons_are_as_sparse_as_its_config_says(engine: Engine) -> None:
    stated = json.loads((MODEL / "config.json").read_text())["fairlead"]["gate_sparsity"]
    telemetry = engine.telemetry
    before = telemetry.work.copy()
    for prompt in PROMPTS:
        run(engine, greedy(engine.model.tokenizer.encode(prompt), 60))
    done = telemetry.work - before
    shares = done[:, ACTIVE] / done[:, COMPUTED]
    assert sum(shares) / len(shares) < 0.5
    for share, zeros in zip(shares, stated, strict=True):
        assert abs((1 - share) - zeros) < 0.2


def test_it_has_a_chat_template_that_ends_with_the_assistants_turn(engine: Engine) -> None:
    tokenizer = engine.model.tokenizer
    tokens = tokenizer.encode_chat(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Good day!"}]
    )
    text = tokenizer.decode(tokens, skip_special=False)
    assert text == "<|bos|><|user|>Be brief.\n\nGood day!<|end|><|assistant|>"


def test_the_package_holds_every_file_of_the_model() -> None:
    names = {file.name for file in Path(MODEL).iterdir()}
    weights = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert names == weights | {"MODEL_CARD.md", "BOOKS.md"}

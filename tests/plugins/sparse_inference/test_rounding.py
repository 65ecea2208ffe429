"""What rounding weights, keys and values costs the shipped model on text that it was not trained on."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_language_model.graph import KVPages, PageTable
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.settings import MODELS
from fairlead_sparse_inference.sparsity.perplexity.score import cross_entropy

from .conftest import greedy, run

MODEL = MODELS / "tiny-drelu"
TEXT = (
    "The road ran down through the wood to the river, and there the two of them stood for a long while without a word. "
    "“You will write to me,” she said at last, “as soon as you have found the house?” He promised that he would. The "
    "ferry was already halfway across; a boy in the bow held up a lantern, although it was not yet dark, and the old "
    "ferryman sang to himself as he rowed. Neither of them had thought that the morning would go by so quickly. When "
    "the boat touched the stones he took up his bag, kissed her hand, and went down the bank without looking back."
)

pytestmark = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the model is not in this checkout")


def perplexity(weight_bits: int | None, kv_bits: int) -> float:
    model = SparseModel.load(MODEL, weight_bits=weight_bits)
    tokens = np.asarray(model.tokenizer.encode(TEXT), np.int32)
    pages, table = KVPages(model.config, 32, bits=kv_bits), PageTable()
    pages.reserve(table, len(tokens))
    result = model.decoder(pages).prefill(tokens[:-1], 0, table.array(), all_logits=True)
    return float(np.exp(cross_entropy(result.logits, tokens[1:].astype(np.int64))))


@pytest.fixture(scope="module")
def exact() -> float:
    return perplexity(None, 32)


@pytest.mark.parametrize(
    ("weight_bits", "kv_bits", "most"),
    [(None, 8, 0.01), (8, 32, 0.02), (8, 8, 0.02), (4, 8, 0.2)],
    ids=["kv8", "w8", "w8-kv8", "w4-kv8"],
)
def test_perplexity_moves_little(exact: float, weight_bits: int | None, kv_bits: int, most: float) -> None:
    assert exact < 200
    assert abs(perplexity(weight_bits, kv_bits) / exact - 1) < most


def test_pages_of_8_bits_take_a_third_and_serve() -> None:
    model = SparseModel.load(MODEL)
    whole, rounded = KVPages(model.config, 4), KVPages(model.config, 4, bits=8)
    assert rounded.page_bytes == 16 * model.config.kv_bytes_per_token(8) < whole.page_bytes / 3
    engine = Engine(model, kv_bits=8, max_sequences=2)
    try:
        got = run(engine, greedy(model.tokenizer.encode("It was a bright cold day in"), 12))
        assert got.finish is not None
        assert len(got.tokens) == 12
    finally:
        engine.close()

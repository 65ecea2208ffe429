"""A model with random weights and a real tokenizer, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead_language_model.graph import LlamaGraph
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer
from tests.plugins.language_model.conftest import CONFIG, random_tensors, write_model
from tests.plugins.language_model.serving.graph_engine import GraphEngine

SHIPPED = Path(__file__).parents[4] / "plugins/sparse_inference/fairlead_sparse_inference/models/tiny-drelu"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return open_tokenizer(SHIPPED)


@pytest.fixture(scope="session")
def graph(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> LlamaGraph:
    config = {**CONFIG, "vocab_size": tokenizer.vocab_size, "max_position_embeddings": 128}
    return LlamaGraph.load(write_model(tmp_path_factory.mktemp("served"), random_tensors(3, config), config))


@pytest.fixture
def engine(graph: LlamaGraph, tokenizer: Tokenizer) -> Iterator[GraphEngine]:
    engine = GraphEngine(graph, tokenizer)
    yield engine
    engine.drain()

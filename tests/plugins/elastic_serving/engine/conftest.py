"""Engines whose pages are counted after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the engine computes in torch")

from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.engine.served_model import ServedModel
from fairlead_elastic_serving.engine.settings import EngineSettings
from fairlead_language_model.serving import BudgetTooSmall
from tests.plugins.elastic_serving.random_models import RandomModel

PAGE_BYTES = 1024
MakeModel = Callable[..., ServedModel]
MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> RandomModel:
    """A small Llama with random weights."""
    return RandomModel("llama", tmp_path_factory.mktemp("llama"))


def open_model(directory: Path, kv_pages: int, most_pages: int = 0, **settings: Any) -> ServedModel:
    """Read a model with so many pages for keys and values; a page holds 14 tokens, a sequence has six rows."""
    chosen = EngineSettings(**{"page_bytes": PAGE_BYTES, "step_tokens": 24, "least_tokens": 8, **settings})
    try:
        ServedModel.open(directory, 0, chosen)
    except BudgetTooSmall as error:
        fixed = error.minimum_bytes - PAGE_BYTES * 6
    return ServedModel.open(
        directory, fixed + kv_pages * PAGE_BYTES, chosen, most_bytes=fixed + most_pages * PAGE_BYTES
    )


@pytest.fixture
def make_model(llama: RandomModel) -> MakeModel:
    """Reads the small Llama."""
    return lambda kv_pages=400, most_pages=0, **settings: open_model(llama.directory, kv_pages, most_pages, **settings)


@pytest.fixture
def make_engine(make_model: MakeModel) -> Iterator[MakeEngine]:
    """Makes engines over the small Llama and closes them."""
    made: list[Engine] = []

    def make(*args: Any, **settings: Any) -> Engine:
        made.append(Engine(make_model(*args, **settings), check=True))
        return made[-1]

    yield make
    for engine in made:
        engine.close()
        engine.loop.scheduler.check()
        assert engine.loop.scheduler.load == (0, 0) and not engine.loop.sequences
        assert engine.pages[0] == 0, "a request has left pages behind"

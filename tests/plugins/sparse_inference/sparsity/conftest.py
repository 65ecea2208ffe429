"""The tiny random model of the folder above, and a text in the words of its tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairlead_sparse_inference.train.layout import write_checkpoint
from fairlead_sparse_inference.train.tokenizer import train_tokenizer

from ..conftest import SHAPE, TEXT, random_weights


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text file of some thousand characters."""
    path = tmp_path / "harbour.txt"
    path.write_text(TEXT * 2)
    return path


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shape with a SwiGLU feed-forward network."""
    folder = tmp_path_factory.mktemp("stock")
    shape = replace(SHAPE, ffn="swiglu")
    write_checkpoint(folder, shape, random_weights(shape, 11), train_tokenizer([TEXT], shape.vocabulary))
    return folder

"""The tiny random model of the folder above, and a text in the words of its tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conftest import TEXT


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text file of some thousand characters."""
    path = tmp_path / "harbour.txt"
    path.write_text(TEXT * 2)
    return path

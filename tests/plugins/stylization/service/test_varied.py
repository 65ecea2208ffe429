"""Searches for other results, by the network itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_stylization.service.form import Asked
from fairlead_stylization.service.varied import Searcher
from tests.plugins.stylization.small_network import random_network


@pytest.mark.parametrize("size", [(45, 63), (300, 331)])
def test_styles_of_any_size_serve(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = random_network(tmp_path / "weights")
    random = np.random.default_rng(3)
    content, style = random.random((41, 50, 3), np.float32), random.random((*size, 3), np.float32)
    asked = Asked(b"", (b"",), None, (), 1.0, False, 2, 0, 0.15, "PNG", 92)
    made, report = Searcher(folder / "edge.safetensors", "edge")(content, style, asked)
    assert made.shape == (2, 41, 50, 3)
    assert np.isfinite(made).all()
    assert "diversity" in report

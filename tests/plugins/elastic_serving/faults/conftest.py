"""Engines over a small random model."""

import pytest

pytest.importorskip("torch", reason="the engine computes in torch")

from tests.plugins.elastic_serving.engine.conftest import llama, make_engine, make_model

__all__ = ["llama", "make_engine", "make_model"]

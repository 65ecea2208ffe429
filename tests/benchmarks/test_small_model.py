"""The small model of the serving benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving.small_model import SmallShape, prepared
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.tokenizer.hf_tokenizer import tokenizer_from_directory

pytest.importorskip("torch")
pytest.importorskip("safetensors")
SHAPE = SmallShape(hidden=32, neurons=48, layers=2, heads=2, kv_heads=1, head_dim=16, vocabulary=300, context=64)


def test_the_checkpoint_is_read_and_has_the_size_that_the_shape_says(tmp_path: Path) -> None:
    path = prepared(SHAPE, "float32", 1, tmp_path)
    checkpoint = open_checkpoint(path)
    assert sum(int(np.prod(checkpoint.shape(name))) for name in checkpoint.names()) == SHAPE.parameters
    assert checkpoint.config.eos_token_ids == () and checkpoint.config.tie_word_embeddings
    tokenizer = tokenizer_from_directory(path)
    assert not tokenizer.eos_token_ids
    assert tokenizer.decode(tokenizer.encode("It was é")) == "It was é"


def test_the_seed_decides_and_what_is_there_is_kept(tmp_path: Path) -> None:
    path = prepared(SHAPE, "float32", 1, tmp_path)
    before = (path / "model.safetensors").stat().st_mtime_ns
    assert prepared(SHAPE, "float32", 1, tmp_path) == path
    assert (path / "model.safetensors").stat().st_mtime_ns == before
    name = "model.layers.1.mlp.up_proj.weight"
    one, other = (
        open_checkpoint(prepared(SHAPE, "float32", seed, tmp_path)).array(name, (48, 32)).copy() for seed in (1, 2)
    )
    assert not np.array_equal(one, other)


def test_a_shape_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="heads a multiple of kv_heads"):
        SmallShape(heads=4, kv_heads=3)

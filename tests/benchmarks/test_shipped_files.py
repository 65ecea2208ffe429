"""The shipped model in the peers' formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader

from benchmarks.shipped_files import RANK, predictor_factors, write_powerinfer, write_stock
from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS


def test_a_predictor_of_two_signed_factors_is_the_best_approximation_of_a_gate() -> None:
    random = np.random.default_rng(3)
    gate, x = random.standard_normal((96, RANK)).astype(np.float32), random.standard_normal(RANK).astype(np.float32)
    first, second = predictor_factors(gate)
    np.testing.assert_allclose(second @ np.maximum(first @ x, 0), gate @ x, atol=1e-4)


def test_both_files_hold_the_weights(tmp_path: Path) -> None:
    write_stock(MODELS / DEFAULT_MODEL, tmp_path / "stock.gguf")
    stock = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "stock.gguf").tensors}
    write_powerinfer(MODELS / DEFAULT_MODEL, tmp_path / "sparse.gguf")
    # Its magic number is another: the library reads it with the stock one.
    content = (tmp_path / "sparse.gguf").read_bytes()
    assert content[:4] == b"PWRI"
    (tmp_path / "sparse.gguf").write_bytes(b"GGUF" + content[4:])
    sparse = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "sparse.gguf").tensors}
    gate, down = stock["blk.0.ffn_gate.weight"], stock["blk.0.ffn_down.weight"]
    assert list(sparse["blk.0.ffn_gate.weight"].shape) == list(gate.shape)
    assert list(sparse["blk.0.ffn_down_t.weight"].shape) == list(down.shape)[::-1]
    assert list(sparse["blk.0.fc1.weight"].shape) == [gate.shape[0], 2 * RANK]
    assert "output.weight" in sparse and "output.weight" not in stock


def test_a_stock_file_has_the_bits_that_are_asked_for(tmp_path: Path) -> None:
    for bits, kind in ((4, "Q4_0"), (8, "Q8_0")):
        write_stock(MODELS / DEFAULT_MODEL, tmp_path / f"{bits}.gguf", bits)
        stored = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / f"{bits}.gguf").tensors}
        assert {stored[f"blk.5.{name}.weight"] for name in ("attn_q", "ffn_gate", "ffn_down")} == {kind}

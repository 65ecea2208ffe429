"""Every stored type of GGUF that the `gguf` package can dequantize, and a clear error for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Kind

from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.errors import CheckpointError
from fairlead_language_model.gguf_file import GgufFile
from fairlead_language_model.graph import LlamaGraph, PageTable

NAMES = (
    "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_XXS IQ3_S IQ2_XXS IQ2_XS IQ2_S IQ1_S "
    "IQ1_M TQ1_0 TQ2_0 MXFP4"
)
REFUSED = ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64")
COLUMNS = 256
# Where in a block the float16 factors lie; the rest may be any bits. Types that are left out are not run as models.
FACTORS = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
}


def stored(kind: Kind, rows: int, seed: int, spread: float = 0.02) -> np.ndarray:
    """Return random blocks [rows, bytes] whose factors are small numbers."""
    block, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (rows * COLUMNS // block, size), dtype=np.uint8)
    for place in FACTORS.get(kind.name, ()):
        factors = rng.uniform(-spread, spread, blocks.shape[0]).astype("<f2")
        blocks[:, place : place + 2] = factors.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def write(path: Path, tensors: dict[str, tuple[np.ndarray, Kind]], **numbers: Any) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in numbers.items():
        getattr(writer, f"add_{name}")(value)
    for name, (value, kind) in tensors.items():
        writer.add_tensor(name, value, raw_dtype=None if kind == Kind.F32 else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", NAMES.split())
def test_values_are_those_of_the_package(tmp_path: Path, name: str) -> None:
    kind = Kind[name]
    blocks = stored(kind, 6, seed=int(kind))
    file = GgufFile(write(tmp_path / "t.gguf", {"x": (blocks, kind)}))
    expected = gguf.quants.dequantize(blocks, kind)
    assert file.entries["x"].shape == (6, COLUMNS) == expected.shape
    np.testing.assert_array_equal(file.float32("x"), expected)
    np.testing.assert_array_equal(file.float32("x", slice(2, 5)), expected[2:5])


@pytest.mark.parametrize("name", FACTORS)
def test_a_model_of_each_type_computes_what_its_float_copy_does(tmp_path: Path, name: str) -> None:
    kind, rng = Kind[name], np.random.default_rng(3)
    numbers = {"context_length": 16, "embedding_length": 256, "block_count": 1, "feed_forward_length": 256}
    numbers |= {"head_count": 4, "head_count_kv": 2, "layer_norm_rms_eps": 1e-5}
    matrices = {"token_embd": 32, "output": 32, "blk.0.attn_q": 256, "blk.0.attn_k": 128, "blk.0.attn_v": 128}
    matrices |= dict.fromkeys(("blk.0.attn_output", "blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"), 256)
    names = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
    norms = {f"{name}.weight": rng.uniform(0.5, 1.5, 256).astype(np.float32) for name in names}
    packed = {f"{name}.weight": stored(kind, rows, seed) for seed, (name, rows) in enumerate(matrices.items())}
    floats = {name: gguf.quants.dequantize(blocks, kind) for name, blocks in packed.items()}
    plain = {name: (value, Kind.F32) for name, value in norms.items()}
    one = write(tmp_path / "q.gguf", plain | {n: (v, kind) for n, v in packed.items()}, **numbers)
    two = write(tmp_path / "f.gguf", plain | {n: (v, Kind.F32) for n, v in floats.items()}, **numbers)
    found, expected = (
        graph.forward([1, 5, 9, 30], graph.pages(16), PageTable()) for graph in map(LlamaGraph.load, (one, two))
    )
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
def test_a_type_without_values_is_named(tmp_path: Path, name: str) -> None:
    kind = Kind[name]
    block, size = GGML_QUANT_SIZES[kind]
    header = [b"GGUF", (3).to_bytes(4, "little"), (1).to_bytes(8, "little"), bytes(8)]
    record = [(1).to_bytes(8, "little"), b"x", (1).to_bytes(4, "little"), block.to_bytes(8, "little")]
    record += [int(kind).to_bytes(4, "little"), bytes(8)]
    content = b"".join(header + record)
    path = tmp_path / "t.gguf"
    path.write_bytes(content + bytes(-len(content) % 32 + size))
    with pytest.raises(CheckpointError, match=rf"t\.gguf: tensor x: type {name} cannot be dequantized"):
        GgufFile(path).float32("x")


def test_a_model_with_such_a_type_is_refused_when_it_is_opened_for_use(tmp_path: Path) -> None:
    path = write(tmp_path / "t.gguf", {"token_embd.weight": (np.zeros((4, 256), np.int8), Kind.I8)})
    with pytest.raises(ValueError, match=r"t\.gguf"):
        open_checkpoint(path)

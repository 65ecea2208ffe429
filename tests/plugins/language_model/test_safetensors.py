"""Checkpoints in safetensors: every stored type, shards, Q8 pairs, and damage of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from fairlead_kernels import Q8Matrix, quantize_q8
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.errors import CheckpointError, LanguageModelError
from fairlead_language_model.graph import load_weights
from fairlead_language_model.safetensors_file import SafetensorsFile, widen_bfloat16

GATE = "model.layers.0.mlp.gate_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


def build(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with any header, honest or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_reads_as_float32(tmp_path: Path, dtype: Any) -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(dtype)
    save_file({"x": values}, tmp_path / "x.safetensors")
    read = SafetensorsFile(tmp_path / "x.safetensors").float32("x")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float32))


def test_bfloat16_equals_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch writes and reads bfloat16")
    from safetensors.torch import save_file as save_torch

    special = torch.tensor([float("inf"), -0.0, 1e-40, 3.3895e38])
    values = torch.cat([torch.randn(1000, generator=torch.Generator().manual_seed(0)), special]).bfloat16()
    save_torch({"x": values}, str(tmp_path / "x.safetensors"))
    read = SafetensorsFile(tmp_path / "x.safetensors").float32("x")
    np.testing.assert_array_equal(read, values.float().numpy())


def test_widening_keeps_every_bit_pattern() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal(widen_bfloat16(bits).view(np.uint32) >> 16, bits)


def test_misaligned_data_reads_aligned(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4")
    header = {"x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    text += b" " * ((1 - len(text)) % 4)
    (tmp_path / "x.safetensors").write_bytes(build(text, values.tobytes()))
    read = SafetensorsFile(tmp_path / "x.safetensors").float32("x")
    assert len(text) % 4 == 1 and read.flags.aligned
    np.testing.assert_array_equal(read, values.reshape(2, 3))


def test_a_float32_tensor_is_not_copied(tiny_model: Path) -> None:
    array = open_checkpoint(tiny_model).array(GATE, (64, 32))
    assert not array.flags.owndata and not array.flags.writeable


def test_a_sharded_model_equals_a_single_file(
    tiny_model: Path, tmp_path: Path, random_tensors: Callable[..., Any]
) -> None:
    tensors = random_tensors(0)
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    (sharded / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    placement = {name: f"model-{i % 3 + 1:05}-of-00003.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(placement.values()):
        save_file({n: tensors[n] for n, f in placement.items() if f == file}, sharded / file)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placement}))
    one, many = load_weights(open_checkpoint(tiny_model)), load_weights(open_checkpoint(sharded))
    for a, b in zip(one.layers, many.layers, strict=True):
        np.testing.assert_array_equal(a.gate, b.gate)
    assert one.nbytes == many.nbytes == sum(t.nbytes for t in tensors.values())


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", 3])
def test_an_index_cannot_leave_its_directory(tiny_model: Path, shard: Any) -> None:
    (tiny_model / "model.safetensors").unlink()
    (tiny_model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {GATE: shard}}))
    with pytest.raises(CheckpointError, match=f"tensor {GATE}: file"):
        open_checkpoint(tiny_model)


def test_an_index_that_misplaces_a_tensor_is_named(tiny_model: Path) -> None:
    (tiny_model / "model.safetensors").rename(tiny_model / "a.safetensors")
    (tiny_model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"nowhere": "a.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"a\.safetensors: tensor nowhere: is missing"):
        open_checkpoint(tiny_model)


@pytest.fixture
def q8_model(tmp_path: Path, random_tensors: Callable[..., Any], write_model: Callable[..., Path]) -> Path:
    tensors: dict[str, Any] = {}
    for name, value in random_tensors(1).items():
        if value.ndim == 1:
            tensors[name] = value
            continue
        matrix = quantize_q8(value)
        tensors |= {f"{name}.q8": matrix.q, f"{name}.scale": matrix.scale}
    return write_model(tmp_path / "q8", tensors)


def test_q8_pairs_read_as_one_matrix(q8_model: Path, random_tensors: Callable[..., Any]) -> None:
    checkpoint, original = open_checkpoint(q8_model), random_tensors(1)
    assert set(checkpoint.names()) == set(original)
    matrix = checkpoint.matrix(GATE, (64, 32))
    assert isinstance(matrix, Q8Matrix)
    np.testing.assert_array_equal(matrix.dequantize(), checkpoint.array(GATE, (64, 32)))
    step = matrix.scale.astype(np.float32).repeat(32, axis=1)
    assert (np.abs(matrix.dequantize() - original[GATE]) <= step).all()


def test_a_transposed_pair_reads_as_the_matrix_and_as_its_rows(
    tmp_path: Path, random_tensors: Callable[..., Any], write_model: Callable[..., Path]
) -> None:
    tensors = random_tensors(2)
    rows = quantize_q8(np.ascontiguousarray(tensors.pop(DOWN).T))
    tensors |= {f"{DOWN}_t.q8": rows.q, f"{DOWN}_t.scale": rows.scale}
    weights = load_weights(open_checkpoint(write_model(tmp_path / "t", tensors)))
    np.testing.assert_array_equal(weights.layers[1].down, rows.dequantize().T)
    stored = weights.layers[1].down_t
    assert stored is not None and weights.layers[0].down_t is None
    np.testing.assert_array_equal(stored.q, rows.q)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("scale", None, rf"tensor {GATE}\.scale: is missing"),
        ("scale", np.zeros((64, 2), np.float16), r"shape \(64, 2\); its quants ask for \(64, 1\)"),
        ("scale", np.zeros((64, 1), np.float32), "is F32; accepted: F16"),
        ("q8", np.zeros((64, 31), np.int8), r"has shape \(64, 31\)"),
        ("q8", np.zeros((64, 32), np.uint8), "is U8; accepted: I8"),
    ],
)
def test_a_broken_q8_pair_is_named(q8_model: Path, part: str, value: Any, message: str) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(q8_model / "model.safetensors")
    tensors[f"{GATE}.{part}"] = value
    if value is None:
        del tensors[f"{GATE}.{part}"]
    save_file(tensors, q8_model / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_weights(open_checkpoint(q8_model))


def test_a_missing_tensor_and_a_wrong_shape_are_named(
    tmp_path: Path, config: dict[str, Any], random_tensors: Callable[..., Any], write_model: Callable[..., Path]
) -> None:
    tensors = random_tensors(0)
    del tensors[GATE]
    with pytest.raises(CheckpointError, match=f"tensor {GATE}: is missing"):
        load_weights(open_checkpoint(write_model(tmp_path / "missing", tensors)))
    config["intermediate_size"] = 96
    with pytest.raises(CheckpointError, match=rf"{GATE}: has shape \(64, 32\); the config asks for \(96, 32\)"):
        load_weights(open_checkpoint(write_model(tmp_path / "shape", random_tensors(0), config)))


def test_integers_are_no_weights(
    tmp_path: Path, random_tensors: Callable[..., Any], write_model: Callable[..., Path]
) -> None:
    tensors = random_tensors(0) | {GATE: np.zeros((64, 32), np.int32)}
    with pytest.raises(CheckpointError, match="is I32; accepted: BF16, F16, F32, F64"):
        load_weights(open_checkpoint(write_model(tmp_path / "int", tensors)))


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BOMBS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "short": (b"1234567", "no room for a safetensors header"),
    "header longer than the file": (build({}, length=1 << 62), "header length 4611686018427387904 exceeds"),
    "not JSON": (build(b"{"), "header is not JSON"),
    "not UTF-8": (build(b"\xff\xfe"), "header is not JSON"),
    "deep JSON": (build(b"[" * 200_000), "header is not JSON"),
    "a list": (build([]), "must be a JSON object"),
    "a name twice": (build(b'{"x": %s, "x": %s}' % ((json.dumps(ONE).encode(),) * 2), bytes(8)), "appears twice"),
    "unknown dtype": (build({"x": {**ONE, "dtype": "F8"}}, bytes(8)), "tensor x: dtype 'F8'"),
    "list for a dtype": (build({"x": {**ONE, "dtype": []}}, bytes(8)), "tensor x: dtype"),
    "negative size": (build({"x": {**ONE, "shape": [-2]}}, bytes(8)), "tensor x: shape"),
    "size overflow": (build({"x": {**ONE, "shape": [1 << 62, 4]}}, bytes(8)), "does not fill 8 bytes"),
    "true is no size": (build({"x": {**ONE, "shape": [True, 2]}}, bytes(8)), "tensor x: shape"),
    "outside": (build({"x": ONE}, bytes(7)), "tensor x: bytes .* lie outside the file: truncated"),
    "backwards": (build({"x": {**ONE, "data_offsets": [8, 0]}}, bytes(8)), "lie outside"),
    "no offsets": (build({"x": {"dtype": "F32", "shape": [2]}}, bytes(8)), "data_offsets None"),
    "overlap": (build({"x": ONE, "y": {**ONE, "data_offsets": [4, 12]}}, bytes(12)), "tensor y: its bytes overlap"),
    "an entry that is no object": (build({"x": 3}), "tensor x: dtype None"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    content, message = BOMBS[name]
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        SafetensorsFile(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=0, max_size=4)), max_size=4),
    kept=st.floats(0, 1),
    in_header=st.booleans(),
)
def test_a_mutated_file_loads_or_raises_our_error(
    tiny_model: Path, edits: list[tuple[float, bytes]], kept: float, in_header: bool
) -> None:
    source, target = tiny_model / "model.safetensors", tiny_model.parent / "mutated"
    original = source.read_bytes()
    content = bytearray(original[: max(1, int(len(original) * (1 if in_header else kept)))])
    span = min(len(content), 8 + int.from_bytes(original[:8], "little")) if in_header else len(content)
    for place, replacement in edits:
        at = int(place * span)
        content[at : at + len(replacement)] = replacement
    target.mkdir(exist_ok=True)
    (target / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    (target / "model.safetensors").write_bytes(content)
    try:
        load_weights(open_checkpoint(target))
    except LanguageModelError as error:
        assert "mutated" in str(error)


@pytest.mark.parametrize("name", ["nothing", "model.bin"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=name):
        open_checkpoint(tmp_path / name)


def test_a_directory_without_weights_is_refused(tiny_model: Path) -> None:
    (tiny_model / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds neither model\.safetensors nor model\.safetensors\.index\.json"):
        open_checkpoint(tiny_model)

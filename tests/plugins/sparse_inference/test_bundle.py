"""Bundle directories: what is written is read, and no malformed file gets past its name."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix, pack, packed_row_bytes
from fairlead_language_model.errors import LanguageModelError
from fairlead_sparse_inference.bundle import (
    BLOCK,
    BundleLayout,
    NetworkRows,
    checkpoint_files,
    is_bundle,
    open_bundle,
    verify_bundle,
    write_bundle,
)

HIDDEN, NEURONS = 64, 37
SIZES = st.sampled_from([32, 64, 96, 256, 1024, 2048, 2560, 4096, 8192])


@given(SIZES, st.sampled_from([4, 8]), st.integers(1, 5000))
def test_a_layout_fits_its_bundles_into_whole_blocks(hidden: int, bits: int, neurons: int) -> None:
    layout = BundleLayout.of(hidden, bits)
    assert layout.why_not() is None
    assert layout.cluster_bytes % BLOCK == 0
    assert layout.stride >= 3 * packed_row_bytes(hidden, bits)
    assert layout.network_bytes(neurons) >= neurons * layout.stride
    # Less than half of the file is padding.
    assert layout.stride < 2 * 3 * packed_row_bytes(hidden, bits) or layout.cluster_bytes == BLOCK


def test_one_bundle_of_2048_columns_is_one_block() -> None:
    layout = BundleLayout.of(2048, 4)
    assert (layout.row_bytes, layout.cluster_neurons, layout.cluster_bytes) == (1152, 1, BLOCK)


def matrix(seed: int, rows: int = NEURONS, bits: int = 4) -> PackedMatrix:
    """A random packed matrix."""
    return pack(np.random.default_rng(seed).standard_normal((rows, HIDDEN)).astype(np.float32), bits)


def rows(name: str, seed: int, *, bits: int = 4, hot: int = 5) -> NetworkRows:
    """A random network in a shuffled order."""
    order = np.random.default_rng(seed).permutation(NEURONS).astype(np.int32)
    gate, up, down = (matrix(seed + part, bits=bits) for part in range(3))
    return NetworkRows(name, gate, up, down, order, hot)


def write(path: Path, *, bits: int = 4) -> list[NetworkRows]:
    """Write a bundle of two networks and a few resident tensors."""
    networks = [rows("layers.0", 10, bits=bits), rows("layers.1", 20, bits=bits)]
    resident: dict[str, Any] = {"model.embed_tokens.weight": matrix(1, bits=8), "norm": np.ones(HIDDEN, np.float32)}
    files = {"config.json": b"{}"}
    write_bundle(path, networks, resident, files, layout=BundleLayout.of(HIDDEN, bits))
    return networks


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_written_is_read(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "bundle"
    written = write(path, bits=bits)
    assert is_bundle(path) and not is_bundle(tmp_path)
    told: list[float] = []
    verify_bundle(path, told.append)
    assert told == [0.5, 1.0]
    bundle = open_bundle(path)
    assert list(bundle.networks) == ["layers.0", "layers.1"]
    for network in written:
        assert bundle.networks[network.name].hot == 5
        np.testing.assert_array_equal(bundle.order(network.name), network.order)
        expected = (network.gate, network.up, network.down_t)
        for found, wanted in zip(bundle.rows(network.name).values(), expected, strict=True):
            np.testing.assert_array_equal(found.data, wanted.data)
        apart = bundle.rows(network.name, apart=True).values()
        for found, wanted in zip(apart, expected, strict=True):
            np.testing.assert_array_equal(found.data, wanted.data)
            assert found.data.flags.c_contiguous
    embedding = bundle.tensor("model.embed_tokens.weight")
    assert isinstance(embedding, PackedMatrix)
    np.testing.assert_array_equal(embedding.data, matrix(1, bits=8).data)
    assert isinstance(bundle.tensor("norm"), np.ndarray)
    assert checkpoint_files(path) == {"config.json": b"{}"}


def test_a_bundle_lies_where_the_order_says(tmp_path: Path) -> None:
    (network, _) = write(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    raw = np.fromfile(bundle.neurons_file, np.uint8)
    width, stride = bundle.layout.row_bytes, bundle.layout.stride
    for place in (0, 7, NEURONS - 1):
        neuron = bundle.order("layers.0")[place]
        found = raw[place * stride : place * stride + 3 * width].reshape(3, width)
        expected = [network.gate.data[neuron], network.up.data[neuron], network.down_t.data[neuron]]
        np.testing.assert_array_equal(found, np.stack(expected))


def test_all_files_of_a_bundle_are_for_the_same_readers(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "bundle")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "bundle").iterdir()} == {0o640}


def test_nothing_is_left_of_a_bundle_that_could_not_be_written(tmp_path: Path) -> None:
    def networks() -> Any:
        yield rows("layers.0", 10)
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "neurons.bin"))

    with pytest.raises(LanguageModelError, match=r"neurons\.bin: cannot be written: No space left"):
        write_bundle(tmp_path / "bundle", networks(), {}, {}, layout=BundleLayout.of(HIDDEN, 4))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every byte, as a full disk does."""
    opened = Path.open

    def open_full(self: Path, *args: Any, **options: Any) -> Any:
        return opened(Path("/dev/full") if self.name == "neurons.bin" else self, *args, **options)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(LanguageModelError, match="cannot be written: No space left"):
        write(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_disk_that_fills_at_the_resident_part_names_it(tmp_path: Path) -> None:
    """The system refuses to let files grow further, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"norm": np.ones(1 << 16, np.float32)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, hard))
    try:
        with pytest.raises(LanguageModelError, match=r"resident\.safetensors: cannot be written: .*File too large"):
            write_bundle(tmp_path / "bundle", [rows("layers.0", 10)], large, {}, layout=BundleLayout.of(HIDDEN, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").touch()
    with pytest.raises(LanguageModelError, match="exists already"):
        write(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "mine").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"up": matrix(3, rows=NEURONS - 1)}, r"layers\.0\.up: must be \[37, 64\]"),
        ({"down_t": matrix(3, bits=8)}, r"layers\.0\.down_t: .* of 4 bits, got \[37, 64\] of 8 bits"),
        ({"order": np.zeros(NEURONS, np.int32)}, r"layers\.0\.order: must be int32"),
        ({"hot": 99}, r"layers\.0\.hot: must be 0\.\.37, got 99"),
    ],
)
def test_networks_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    given_rows = {"gate": matrix(1), "up": matrix(2), "down_t": matrix(3)} | change
    with pytest.raises(ValueError, match=message):
        write_bundle(tmp_path / "b", [NetworkRows("layers.0", **given_rows)], {}, {}, layout=BundleLayout.of(HIDDEN, 4))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle; tests change copies."""
    path = tmp_path_factory.mktemp("whole") / "bundle"
    write(path)
    return path


def damaged(whole: Path, folder: Path) -> Path:
    """A copy to be damaged."""
    shutil.rmtree(folder / "copy", ignore_errors=True)
    return Path(shutil.copytree(whole, folder / "copy"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", "other", "field format = 'other'"),
        ("version", 2, "field version = 2"),
        ("bits", 5, "field bits = 5: accepted: 4 or 8"),
        ("hidden", 33, "field hidden = 33"),
        ("cluster_neurons", 0, "field cluster_neurons = 0"),
        ("cluster_bytes", 4095, "field cluster_bytes = 4095"),
        ("cluster_bytes", 1 << 40, "field cluster_bytes"),
        ("cluster_bytes", 1 << 26, "field cluster_bytes"),
        ("neurons_bytes", 4096, "field networks"),
        ("neurons_bytes", "8192", "field neurons_bytes = '8192'"),
        ("networks", [], "field networks"),
        ("surprise", 1, "field surprise = 1"),
        ("resident", {"gone": {"columns": 64, "bits": 4}}, "tensor gone: is missing"),
        ("resident", {"norm": {"columns": 64, "bits": 4}}, "tensor norm: is no packed matrix"),
    ],
)
def test_a_bad_field_is_named(whole: Path, tmp_path: Path, field: str, value: Any, message: str) -> None:
    path = damaged(whole, tmp_path)
    written = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(written | {field: value}))
    with pytest.raises(LanguageModelError, match=message):
        open_bundle(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": 1}, "offset = 1: accepted: a multiple of 4096"),
        ({"offset": 0}, "offset = 0: accepted: a multiple of 4096, 12288 or more"),
        ({"neurons": 10**6}, "neurons = 1000000: accepted: networks that end within"),
        ({"hot": 38}, "hot = 38: accepted: at most neurons = 37"),
        ({"name": "layers.0"}, "name = 'layers.0': accepted: each name once"),
    ],
)
def test_a_bad_network_is_named(whole: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = damaged(whole, tmp_path)
    written = json.loads((path / "bundle.json").read_text())
    written["networks"][1] |= change
    (path / "bundle.json").write_text(json.dumps(written))
    with pytest.raises(LanguageModelError, match=message):
        open_bundle(path)


@pytest.mark.parametrize("name", ["bundle.json", "neurons.bin", "resident.safetensors"])
def test_missing_and_truncated_files_are_named(whole: Path, tmp_path: Path, name: str) -> None:
    path = damaged(whole, tmp_path)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(LanguageModelError, match=name):
        open_bundle(path)
    (path / name).unlink()
    with pytest.raises(LanguageModelError, match=name):
        open_bundle(path)


@given(st.integers(0, 2**63), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_one_flipped_byte_is_found(whole: Path, tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    path = damaged(whole, tmp_path_factory.getbasetemp())
    for name in ("neurons.bin", "resident.safetensors"):
        content = bytearray((path / name).read_bytes())
        content[at % len(content)] ^= flip
        (path / name).write_bytes(content)
        with pytest.raises(LanguageModelError, match=name):
            verify_bundle(path)
        content[at % len(content)] ^= flip
        (path / name).write_bytes(content)
    verify_bundle(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_manifest_does_worse_than_one_clear_error(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any value in any place: opening succeeds with a whole bundle, or fails with an error that names the file."""
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    if not path.exists():
        shutil.copytree(whole, path)
    written = json.loads((whole / "bundle.json").read_text())
    place = written
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    (path / "bundle.json").write_text(json.dumps(written))
    read(path)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_bytes_for_a_manifest_do_worse(whole: Path, tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes"
    if not path.exists():
        shutil.copytree(whole, path)
    (path / "bundle.json").write_bytes(text)
    read(path)


def read(path: Path) -> None:
    """Read everything, or fail with the package's error."""
    try:
        bundle = open_bundle(path)
        found: list[NDArray[Any]] = [part.data for name in bundle.networks for part in bundle.rows(name).values()]
    except LanguageModelError as error:
        assert str(path) in str(error)
        return
    assert all(len(part) for part in found)

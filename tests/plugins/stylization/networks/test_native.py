"""A student by the project's own kernels computes what torch does: any size, strength, mixture and given statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")

from safetensors.torch import save_file  # noqa: E402

from fairlead_kernels.backend import backend, select, set_threads, threads  # noqa: E402
from fairlead_kernels.feature_maps import halves_by  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint, BadSetting  # noqa: E402
from fairlead_stylization.networks.native import NativeNetwork  # noqa: E402
from fairlead_stylization.networks.numbers import Numbers  # noqa: E402
from fairlead_stylization.networks.running import TorchNetwork, shipped_stylizer  # noqa: E402
from fairlead_stylization.networks.shape import EDGE, QUALITY, StudentShape  # noqa: E402
from fairlead_stylization.networks.student import Student  # noqa: E402
from fairlead_stylization.stylizer import NetworkStylizer, Style  # noqa: E402
from fairlead_stylization.transform.tiles import Tiling  # noqa: E402


def picture(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    return (0.8 * coarse + 0.2 * rng.random((height, width, 3))).astype(np.float32)


def random_student(shape: StudentShape) -> Student:
    torch.manual_seed(0)
    student = Student(shape).eval()
    torch.nn.init.normal_(student.decoder.picture.weight, std=0.02)
    torch.nn.init.normal_(student.modulator.outer.weight, std=0.02)
    return student


def saved(student: Student, folder: Path) -> Path:
    file = folder / "edge.safetensors"
    save_file({name: value.contiguous() for name, value in student.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def student() -> Student:
    torch.set_num_threads(1)
    return random_student(EDGE)


@pytest.fixture(scope="module")
def weights(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(student, tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize(("size", "strength"), [((7, 90), 1.0), ((83, 121), 0.6)])
@pytest.mark.parametrize(("numbers", "most"), [("floats", 1e-4), ("halves", 0.01), ("bytes", 0.01)])
def test_any_size_strength_and_mixture_is_torchs(
    student: Student, weights: Path, size: tuple[int, int], strength: float, numbers: Numbers, most: float
) -> None:
    styles = [Style(picture(64, 72, 1)), Style(picture(48, 80, 2) ** 2, 0.5)]
    native = NetworkStylizer(NativeNetwork(weights, "edge", numbers, step=1))
    content = picture(*size, 0)
    expected = NetworkStylizer(TorchNetwork(student, "edge")).stylize(content, styles, strength)
    assert np.abs(native.stylize(content, styles, strength) - expected).mean() < most


def test_the_kernels_stand_in_computes_the_same(student: Student, weights: Path) -> None:
    content, styles, before = picture(40, 56, 3), [Style(picture(48, 48, 4))], backend()
    expected = NetworkStylizer(TorchNetwork(student, "edge")).stylize(content, styles)
    select("numpy")
    try:
        got = NetworkStylizer(NativeNetwork(weights, "edge", numbers="floats", step=1)).stylize(content, styles)
    finally:
        select(before.isa if before.name == "native" else "numpy")
    assert np.abs(got - expected).mean() < 1e-4


def test_given_statistics_are_gone_by(student: Student, weights: Path) -> None:
    content, styles = picture(96, 128, 5), [Style(picture(64, 64, 6))]
    tiling = Tiling(tile=64, overlap=32, largest=1)
    native = NetworkStylizer(NativeNetwork(weights, "edge", numbers="floats", step=1), tiling)
    expected = NetworkStylizer(TorchNetwork(student, "edge"), tiling).stylize(content, styles)
    assert np.abs(native.stylize(content, styles) - expected).mean() < 1e-4


def test_maps_that_are_used_again_leave_nothing_behind(weights: Path) -> None:
    network = NativeNetwork(weights, "edge")
    used, fresh = NetworkStylizer(network), NetworkStylizer(NativeNetwork(weights, "edge"))
    styles = [Style(picture(64, 64, 7))]
    used.stylize(picture(64, 64, 8), styles)
    np.testing.assert_array_equal(used.stylize(picture(64, 64, 9), styles), fresh.stylize(picture(64, 64, 9), styles))


def test_deeper_students_run_too(tmp_path: Path) -> None:
    deep = random_student(QUALITY)
    file = saved(deep, tmp_path)
    content, styles = picture(48, 64, 10), [Style(picture(48, 48, 11))]
    expected = NetworkStylizer(TorchNetwork(deep, "quality")).stylize(content, styles)
    got = NetworkStylizer(NativeNetwork(file, "quality", numbers="floats", step=1)).stylize(content, styles)
    assert np.abs(got - expected).mean() < 1e-4
    with pytest.raises(BadCheckpoint, match="accepted for edge"):
        NativeNetwork(file, "edge")


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no such file"):
        NativeNetwork(tmp_path / "none.safetensors", "edge")
    (file := tmp_path / "bad.safetensors").write_bytes(b"abc")
    with pytest.raises(BadCheckpoint, match="not a safetensors file"):
        NativeNetwork(file, "edge")


def test_the_faster_runtime_is_taken_and_both_are_one_network(tmp_path: Path) -> None:
    from tests.plugins.stylization.small_network import random_network

    before, folder = threads(), random_network(tmp_path / "network")
    try:
        auto, native, graphs = (
            shipped_stylizer("edge", 1, folder, runtime=name) for name in ("auto", "native", "onnx")
        )
        fast = halves_by() in ("amx", "avx512bf16")
        assert type(auto.network) is type((native if fast else graphs).network)
        assert native.weights_digest == graphs.weights_digest
        content, styles = picture(64, 80, 12), [Style(picture(64, 64, 13))]
        # Graphs keep weights in 8 bits.
        assert np.abs(native.stylize(content, styles) - graphs.stylize(content, styles)).mean() < 0.02
        (folder / "edge.safetensors").unlink()
        assert type(shipped_stylizer("edge", 1, folder).network) is type(graphs.network)
        with pytest.raises(BadCheckpoint, match="no such file"):
            shipped_stylizer("edge", 1, folder, runtime="native")
        with pytest.raises(BadSetting, match="accepted: auto, native, onnx"):
            shipped_stylizer("edge", 1, folder, runtime="torch")
    finally:
        set_threads(before)

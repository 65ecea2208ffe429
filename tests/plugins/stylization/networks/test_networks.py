"""The student: strength, mixtures, sizes; what is exported computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")

from fairlead_kernels.lattice import remove_lattice  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint, BadPicture, BadSetting  # noqa: E402
from fairlead_stylization.networks.running import TorchNetwork  # noqa: E402
from fairlead_stylization.networks.sessions import Graph  # noqa: E402
from fairlead_stylization.networks.shape import StudentShape, shape_told  # noqa: E402
from fairlead_stylization.networks.student import LENT, Ledger, Student  # noqa: E402
from fairlead_stylization.stylizer import NetworkStylizer, Style  # noqa: E402
from fairlead_stylization.transform.colours import Colours, colour_map, recoloured  # noqa: E402
from fairlead_stylization.transform.covariances import matched, moments  # noqa: E402
from fairlead_stylization.transform.details import Details  # noqa: E402
from fairlead_stylization.transform.tiles import Tiling  # noqa: E402

SHAPE = StudentShape(channels=(4, 6, 8), depth=1, matching=4)


@pytest.fixture(scope="module")
def student() -> Student:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = Student(SHAPE).eval()
    # What an untrained student adds to the recoloured content is nothing.
    torch.nn.init.normal_(made.decoder.picture.weight, std=0.05)
    return made


@pytest.fixture
def stylizer(student: Student) -> NetworkStylizer:
    return NetworkStylizer(TorchNetwork(student, "edge"))


def picture(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def test_an_untrained_student_gives_the_recoloured_content_with_details_in_the_styles_colours() -> None:
    content, style = picture(40, 48, 20), picture(64, 64, 21) ** 2
    got = NetworkStylizer(TorchNetwork(Student(SHAPE), "edge")).stylize(content, [Style(style)])
    mapping = colour_map(Colours.of(content), Colours.of(style))
    richer = recoloured(content, mapping) + LENT * Details.of(style).carried(content, mapping)
    expected = recoloured(richer, colour_map(Colours.of(richer), Colours.of(recoloured(content, mapping))))
    drawn = np.clip(expected, 0, 1).astype(np.float32)
    remove_lattice(drawn, content)
    # Covariances are matched with a ridge, colours without.
    assert np.abs(got - drawn).mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (64, 64), (83, 121)])
def test_any_size_comes_back_in_its_size(stylizer: NetworkStylizer, size: tuple[int, int]) -> None:
    got = stylizer.stylize(picture(*size, 0), [Style(picture(50, 60, 1))])
    assert got.shape == (*size, 3)
    assert got.min() >= 0
    assert got.max() <= 1


def test_strength_leads_from_the_content_to_the_style(stylizer: NetworkStylizer) -> None:
    content, style = picture(64, 64, 2), [Style(picture(64, 64, 3))]
    np.testing.assert_array_equal(stylizer.stylize(content, style, 0.0), content)
    whole = stylizer.stylize(content, style, 1.0)
    away = [float(np.abs(stylizer.stylize(content, style, share) - whole).mean()) for share in (0.25, 0.5, 0.75)]
    assert away[0] > away[1] > away[2] > 0


def test_a_code_serves_like_its_picture_and_mixtures_lie_between(stylizer: NetworkStylizer) -> None:
    content, one, two = picture(64, 64, 4), picture(64, 64, 5), picture(96, 64, 6) ** 3
    alone = stylizer.stylize(content, [Style(one)])
    np.testing.assert_array_equal(stylizer.stylize(content, [Style(stylizer.encode_style(one))]), alone)
    np.testing.assert_allclose(stylizer.stylize(content, [Style(one, 2.0), Style(two, 0.0)]), alone, atol=1e-4)
    mixed = stylizer.stylize(content, [Style(one), Style(two)])
    assert np.abs(mixed - alone).mean() > 1e-3


def test_a_mask_keeps_the_content_where_it_is_zero(stylizer: NetworkStylizer) -> None:
    content = picture(48, 64, 7)
    mask = np.zeros((48, 64), np.float32)
    mask[:, 32:] = 1
    got = stylizer.stylize(content, [Style(picture(64, 64, 8))], mask=mask)
    np.testing.assert_array_equal(got[:, :32], content[:, :32])
    assert np.abs(got[:, 32:] - content[:, 32:]).mean() > 0.01


def test_tiles_agree_with_the_whole_and_with_each_other(student: Student) -> None:
    network = TorchNetwork(student, "edge")
    content, style = np.tile(picture(64, 64, 9), (3, 4, 1)), [Style(picture(64, 64, 10))]
    whole = NetworkStylizer(network).stylize(content, style)
    tiled = NetworkStylizer(network, Tiling(tile=128, overlap=64, largest=1)).stylize(content, style)
    assert np.abs(tiled - whole).mean() < 0.08
    # Seams would be steps that the whole picture does not have.
    assert np.abs(np.diff(tiled, axis=1)).max() < 1.5 * np.abs(np.diff(whole, axis=1)).max()


def test_given_statistics_take_the_place_of_the_features_own() -> None:
    found, given = torch.rand(1, 8), torch.rand(1, 12)
    assert torch.equal(Ledger().note(found), found)
    ledger = Ledger(given, torch.ones(1))
    assert torch.allclose(ledger.note(found), given[:, :8])
    assert torch.allclose(ledger.note(found[:, :4]), given[:, 8:])


def test_a_picture_in_its_own_style_is_what_its_layers_draw(student: Student) -> None:
    own = torch.rand(1, 3, 48, 64)
    passes = student.passes(own, own)
    drawn = matched(passes.itself, moments(passes.itself), moments(own), torch.ones(1))
    assert float((passes.picture - drawn).abs().mean()) < 0.02


def test_the_exported_graphs_compute_the_same(student: Student, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: export is not tested")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: exported graphs are not run")
    from fairlead_stylization.networks.export import export
    from fairlead_stylization.networks.running import OnnxNetwork

    exported = NetworkStylizer(OnnxNetwork(*export(student, tmp_path, "edge"), threads=1))
    stylizer = NetworkStylizer(TorchNetwork(student, "edge"))
    content, styles = picture(70, 93, 11), [Style(picture(64, 64, 12)), Style(picture(128, 40, 13), 0.5)]
    difference = np.abs(exported.stylize(content, styles, 0.7) - stylizer.stylize(content, styles, 0.7))
    # Weights are kept in 8 bits.
    assert difference.mean() < 0.02
    assert exported.variant == "edge"
    assert exported.network.segments == SHAPE.segments


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({}, "no shape in its metadata"),
        ({"shape": "[1"}, "cannot be read"),
        ({"shape": '{"channels": [4, 0]}'}, "channels"),
    ],
)
def test_graphs_that_tell_no_shape_are_refused(told: dict[str, str], problem: str) -> None:
    with pytest.raises(BadCheckpoint, match=rf"picture\.onnx: .*{problem}"):
        shape_told(told, Path("picture.onnx"))


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: graphs are not run")
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(BadCheckpoint, match=r"broken\.onnx"):
        Graph(tmp_path / "broken.onnx")
    with pytest.raises(BadCheckpoint, match="no such file"):
        Graph(tmp_path / "absent.onnx")


def test_what_cannot_be_stylized_is_refused(stylizer: NetworkStylizer) -> None:
    content, styles = picture(40, 40, 14), [Style(picture(40, 40, 15))]
    with pytest.raises(BadSetting, match=r"strength: 1.5; accepted: 0 to 1"):
        stylizer.stylize(content, styles, 1.5)
    with pytest.raises(BadSetting, match="weights"):
        stylizer.stylize(content, [Style(content, -1.0)])
    with pytest.raises(BadSetting, match="weights"):
        stylizer.stylize(content, [])
    with pytest.raises(BadPicture, match=r"mask: shape \(3, 3\)"):
        stylizer.stylize(content, styles, mask=np.zeros((3, 3), np.float32))
    with pytest.raises(BadPicture, match="NaN"):
        stylizer.stylize(content * np.nan, styles)
    with pytest.raises(BadPicture, match="style: shape"):
        stylizer.encode_style(content[..., :1])

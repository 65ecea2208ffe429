"""Searches for other results, by the network itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_stylization.diversity.request import STEPS
from fairlead_stylization.errors import BadCheckpoint
from fairlead_stylization.networks.running import shipped_stylizer
from fairlead_stylization.service.form import Asked
from fairlead_stylization.service.varied import APART_STEPS, Searcher
from fairlead_stylization.stylizer import whole
from tests.plugins.stylization.small_network import random_network


@pytest.mark.parametrize("size", [(45, 63), (300, 331)])
def test_styles_of_any_size_serve(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = random_network(tmp_path / "weights")
    random = np.random.default_rng(3)
    content, style = random.random((41, 50, 3), np.float32), random.random((*size, 3), np.float32)
    asked = Asked(b"", (b"",), None, (), 1.0, False, 2, 0, 0.15, "PNG", 92)
    searcher = Searcher(folder / "edge.safetensors", shipped_stylizer("edge", 1, folder))
    made, report = searcher(content, style, asked)
    results = [whole(content.shape, bands) for bands in made]
    assert len(results) == 2 and all(np.isfinite(one).all() for one in results)
    assert "diversity" in report
    _, report = searcher(content, style, asked, stopped=lambda: True)
    assert len(report["objective"]) == 1


def test_a_search_takes_as_many_steps_as_it_is_told(tmp_path: Path) -> None:
    folder = random_network(tmp_path / "weights")
    random = np.random.default_rng(3)
    content, style = random.random((41, 50, 3), np.float32), random.random((45, 63, 3), np.float32)
    asked = Asked(b"", (b"",), None, (), 1.0, False, 2, 0, 0.15, "PNG", 92)
    searcher = Searcher(folder / "edge.safetensors", shipped_stylizer("edge", 1, folder), steps=3)
    _, report = searcher(content, style, asked)
    assert report["steps"] == 3 and len(report["objective"]) == 4
    usual = Searcher(folder / "edge.safetensors", shipped_stylizer("edge", 1, folder))
    for towards, steps in ((None, APART_STEPS), (style, STEPS)):
        assert len(usual(content, style, asked, towards)[1]["objective"]) == steps + 1


def test_changes_that_lead_somewhere_reach_further_than_those_that_differ(tmp_path: Path) -> None:
    folder = random_network(tmp_path / "weights")
    random = np.random.default_rng(3)
    content, style, other = (random.random((size, 48, 3), np.float32) for size in (41, 45, 50))
    asked = Asked(b"", (b"",), None, (), 1.0, False, 2, 0, 0.1, "PNG", 92)
    searcher = Searcher(folder / "edge.safetensors", shipped_stylizer("edge", 1, folder), steps=3)
    _, apart = searcher(content, style, asked)
    _, led = searcher(content, style, asked, towards=other)
    assert 1.2 * apart["change"] < led["change"] <= asked.bound


def test_results_are_looked_at_as_a_refiner_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: searches are not tested")
    from safetensors.torch import save_file

    from fairlead_stylization.diversity.generators.stylization import StyleTransfer
    from fairlead_stylization.networks.refiner import Refiner
    from fairlead_stylization.networks.running import read_refiner, read_student
    from fairlead_stylization.networks.shape import REFINERS

    folder = random_network(tmp_path / "weights")
    stylizer, weights = shipped_stylizer("edge", 1, folder), folder / "edge.safetensors"
    random = np.random.default_rng(3)
    content, style = random.random((43, 50, 3), np.float32), random.random((64, 64, 3), np.float32)
    asked = Asked(b"", (b"",), None, (), 1.0, False, 2, 0, 0.15, "PNG", 92)
    _, without = Searcher(weights, stylizer)(content, style, asked)
    torch.manual_seed(1)
    save_file(Refiner(REFINERS["edge"]).state_dict(), folder / "edge-refiner.safetensors")
    _, report = Searcher(weights, stylizer)(content, style, asked)
    assert report["objective"] != without["objective"] and report["change"] <= 0.15

    refiner = read_refiner(folder / "edge-refiner.safetensors", "edge")
    look, pictures = torch.from_numpy(style).permute(2, 0, 1)[None], torch.rand(2, 3, 43, 50)
    seen = StyleTransfer(read_student(weights), look, refiner=refiner).features(pictures)
    assert [layer.shape[1] for layer in seen] == list(REFINERS["edge"].channels)
    (folder / "edge-refiner.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match="edge-refiner"):
        Searcher(weights, stylizer)(content, style, asked)


def test_what_is_searched_is_what_a_stylizer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: searches are not tested")
    from fairlead_stylization import stylizer as drawing
    from fairlead_stylization.diversity.generators import stylization as generating
    from fairlead_stylization.diversity.generators.stylization import StyleTransfer
    from fairlead_stylization.networks.running import TorchNetwork
    from fairlead_stylization.networks.shape import StudentShape
    from fairlead_stylization.networks.student import Student
    from fairlead_stylization.stylizer import NetworkStylizer, Style

    def cropped(picture: np.ndarray, like: np.ndarray, *, target: np.ndarray, margin: int) -> None:
        target[...] = picture[margin:, margin:][: target.shape[0], : target.shape[1]]

    # Random layers draw more lattice than picture; results lose it when they are drawn, not while they are searched.
    monkeypatch.setattr(drawing, "remove_lattice", cropped)
    torch.manual_seed(0)
    student = Student(StudentShape((4, 6, 8), 1, 4)).eval()
    torch.nn.init.normal_(student.decoder.picture.weight, std=0.05)
    pictures, style = torch.rand(3, 3, 48, 56), torch.rand(1, 3, 64, 40)
    found = {}
    for kind in ("float", "amx"):
        monkeypatch.setattr(generating, "halves_by", lambda kind=kind: kind)
        with torch.no_grad():
            found[kind] = StyleTransfer(student, style, 0.7)(pictures)
    once, halves = found["float"], found["amx"]
    assert halves.dtype is torch.float32 and 0 < (halves - once).abs().mean() < 5e-3
    stylizer = NetworkStylizer(TorchNetwork(student, "edge"))
    looks = [Style(style[0].permute(1, 2, 0).numpy())]
    each = [stylizer.stylize(picture.permute(1, 2, 0).numpy(), looks, 0.7) for picture in pictures]
    np.testing.assert_allclose(once.permute(0, 2, 3, 1).numpy(), np.stack(each), atol=1e-3)

"""Texts give directions that searches follow; what is no whole CLIP is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: texts are not tested")
pytest.importorskip("transformers", reason="transformers is not installed: texts are not tested")

from safetensors.torch import load_file, save_file  # noqa: E402

from fairlead_stylization.diversity.objectives import Along  # noqa: E402
from fairlead_stylization.diversity.request import Search  # noqa: E402
from fairlead_stylization.diversity.search import random_results, search  # noqa: E402
from fairlead_stylization.diversity.text import ClipSpace  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint, BadSetting  # noqa: E402
from tests.plugins.stylization.small_network import random_clip  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_clip(tmp_path / "clip", "a photo of stormy seas")


def test_results_go_where_the_text_points(folder: Path) -> None:
    space = ClipSpace(folder)
    picture = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    way, wanted = space.direction("a stormy sea"), Search(count=1, bound=0.2, steps=10, cell=8)

    def along(results: torch.Tensor) -> float:
        with torch.no_grad():
            return float(((space(results) - space(picture)) @ way).mean())

    def generate(pictures: torch.Tensor) -> torch.Tensor:
        return pictures.square()

    found = search(generate, picture, Along(space, generate(picture), way), wanted)
    chance = random_results(generate, picture, Search(count=16, bound=0.2, cell=8), smooth=True)
    assert along(found.results) > max(along(result[None]) for result in chance.results)


def test_vectors_are_unit_and_long_texts_are_cut(folder: Path) -> None:
    space = ClipSpace(folder)
    assert space(torch.rand(2, 3, 20, 50)).norm(dim=1).allclose(torch.ones(2))
    assert space.text("stormy " * 50).shape == space.direction("a sea").shape == (8,)
    with pytest.raises(BadSetting, match="some words"):
        space.text("  ")
    with pytest.raises(BadSetting, match="at one place"):
        space.direction("a photo")


def test_what_is_no_whole_clip_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"no config\.json"):
        ClipSpace(tmp_path)
    whole = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in whole.items() if name != "text_projection.weight"},
              folder / "model.safetensors", {"format": "pt"})  # fmt: skip
    with pytest.raises(BadCheckpoint, match=r"text_projection\.weight: not in its weights"):
        ClipSpace(folder)
    whole["visual_projection.weight"][0, 0] = float("nan")
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadCheckpoint, match=r"visual_projection\.weight: holds NaN"):
        ClipSpace(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadCheckpoint, match="not a CLIP that can be read"):
        ClipSpace(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="no weights"):
        ClipSpace(folder)

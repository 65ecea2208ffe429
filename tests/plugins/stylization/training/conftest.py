"""What short training runs are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, ...]:
    """Folders of a few textures as contents and styles, a file for VGG-19 and a folder for the run."""
    from fairlead_stylization.training.textures import textures

    for name, seed in (("contents", 0), ("styles", 1)):
        (tmp_path / name).mkdir()
        for index, made in enumerate(textures(3, 96, seed)):
            Image.fromarray(made).save(tmp_path / name / f"{index}.png")
    return tuple(tmp_path / name for name in ("contents", "styles", "vgg", "out"))

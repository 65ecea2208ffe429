"""Which pictures a run measures: a split of the reference set, or all of a folder that nobody has tuned to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from fairlead_stylization.quality.split import split_pictures


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options `--split` and `--pictures`."""
    parser.add_argument("--split", choices=["dev", "test"], default="dev", help="test: for the last measurement")
    told = "a folder with content/ and style/: pictures of your own in place of a split of FAIRLEAD_DATA's"
    parser.add_argument("--pictures", type=Path, help=told)


def chosen(asked: argparse.Namespace, images: Path, kind: str) -> list[Path]:
    """The pictures of one kind, in the order of their names.

    Args:
        asked: what `add_choice` parsed.
        images: of the reference set.
        kind: content or style.

    Raises:
        SystemExit: the folder has none, or one of them cannot be read.
    """
    if asked.pictures is None:
        development, test = split_pictures(images / kind)
        return test if asked.split == "test" else development
    folder: Path = asked.pictures / kind
    found = [path for part in split_pictures(folder) for path in part] if folder.is_dir() else []
    if not found:
        raise SystemExit(f"--pictures {asked.pictures}: no pictures in {folder}; accepted: .jpg, .jpeg and .png there")
    for path in found:
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise SystemExit(f"--pictures: {path}: cannot be read: {error}") from None
    return sorted(found)


def described(asked: argparse.Namespace, pictures: list[Path]) -> dict[str, Any]:
    """What the results file says of them."""
    if asked.pictures is None:
        return {"split": asked.split}
    return {"split": "given, not of the reference set", "pictures": [path.name for path in pictures]}

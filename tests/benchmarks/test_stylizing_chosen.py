"""Which pictures the stylization benchmarks measure."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.stylizing.chosen import add_choice, chosen, described


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_choice(parser)
    return parser.parse_args(words)


def pictures(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def test_a_split_leaves_the_other_one_alone(tmp_path: Path) -> None:
    pictures(tmp_path / "content", "coffee.png", "chelsea.png", "tubingen.jpg", "amber.jpg")
    names = {split: [path.stem for path in chosen(asked("--split", split), tmp_path, "content")] for split in
             ("dev", "test")}  # fmt: skip
    assert names == {"dev": ["amber", "coffee"], "test": ["chelsea", "tubingen"]}
    assert described(asked(), []) == {"split": "dev"}


def test_own_pictures_take_the_place_of_the_reference_set(tmp_path: Path) -> None:
    own = pictures(tmp_path / "own" / "style", "wave.jpg", "mine.png").parent
    choice = asked("--pictures", str(own))
    found = chosen(choice, tmp_path / "not there", "style")
    assert [path.name for path in found] == ["mine.png", "wave.jpg"]
    assert described(choice, found)["pictures"] == ["mine.png", "wave.jpg"]


def test_a_folder_without_pictures_or_with_a_broken_one_is_named(tmp_path: Path) -> None:
    choice = asked("--pictures", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no pictures in .*style; accepted: \.jpg, \.jpeg and \.png"):
        chosen(choice, tmp_path, "style")
    broken = pictures(tmp_path / "style", "one.png") / "two.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with pytest.raises(SystemExit, match=r"two\.png: cannot be read"):
        chosen(choice, tmp_path, "style")

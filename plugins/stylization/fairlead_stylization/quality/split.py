"""Which pictures of the reference set are for the last measurement only.

Training, the choice of settings and every look at a loss use the others (`is_test` is False).
"""

from __future__ import annotations

from pathlib import Path

#: By file name without its ending: never read before the last measurement.
TEST_CONTENTS = frozenset({"chelsea", "golden_gate", "hoovertowernight", "tubingen"})
TEST_STYLES = frozenset({"starry_night_google", "the_scream", "wave"})

_ENDINGS = frozenset({".jpg", ".jpeg", ".png"})


def is_test(path: Path | str) -> bool:
    """Whether a picture is of the test split, wherever its copy lies."""
    return Path(path).stem.lower() in TEST_CONTENTS | TEST_STYLES


def split_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """(development pictures, test pictures) of a folder, each in the order of their names."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    return [path for path in pictures if not is_test(path)], [path for path in pictures if is_test(path)]

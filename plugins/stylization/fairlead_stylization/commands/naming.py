"""What results are called: none is written over what is read, nor over another one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadSetting


@dataclass(frozen=True, slots=True)
class Item:
    """One input.

    Attributes:
        kind: "picture", "video" or "scene".
        path: of it.
        name: of its results, without their ending.
    """

    kind: str
    path: Path
    name: str


def named(
    found: Iterable[tuple[str, Path]], out: Path, others: Sequence[Path] = (), ending: str = ".png"
) -> list[Item]:
    """Name the results of all inputs: by their stems, with their endings where several share one.

    Args:
        found: kind and path of each input.
        out: the folder of results.
        others: more files that are read.
        ending: of pictures' results.

    Raises:
        BadSetting: two inputs of one name, a result that would take the place of what is read, or a folder that cannot
            be written to.
    """
    require_writable(out)
    pairs = list(found)
    stems = Counter((kind, path.stem.lower()) for kind, path in pairs)
    items = [Item(kind, path, _name(path, stems[kind, path.stem.lower()] > 1)) for kind, path in pairs]
    read = {path.resolve() for _, path in pairs} | {path.resolve() for path in others}
    taken: dict[tuple[str, str], Path] = {}
    for item in items:
        before = taken.setdefault((item.kind, item.name.lower()), item.path)
        if before is not item.path:
            raise BadSetting(f"{item.path}: {before} has this name, too; accepted: inputs with names of their own")
        for target in _targets(item, out, ending):
            if target.resolve() in read:
                raise BadSetting(f"--out {out}: {target} is read and would be written; accepted: another folder")
    return items


def require_writable(out: Path) -> None:
    """Refuse a folder that could not be made or written to, before any work is done for it; raises BadSetting."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        told = "cannot be written to" if there.is_dir() else "is no folder"
        raise BadSetting(f"--out {out}: {there} {told}; accepted: a folder that can be written to")


def _name(path: Path, shared: bool) -> str:
    return path.resolve().name if shared or path.is_dir() else path.stem


def _targets(item: Item, out: Path, picture: str) -> tuple[Path, ...]:
    """What could be written over an input: pictures and videos, and folders of frames and views."""
    ending = {"picture": picture, "video": ".mp4"}.get(item.kind, "")
    return out / item.name, out / f"{item.name}{ending}"

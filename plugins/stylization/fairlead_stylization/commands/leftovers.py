"""Results of an earlier run that a new one has no counterpart of: those are removed, and nothing else is.

What was written is known by what tells of it: a scene's views by the GIF beside them, different results by their
report, frames by a record in their folder. What none of these tells of, or was changed since, stays.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import click

from ..pictures import write_file

RECORD = ".styled.json"


def remove_leftovers(found: Iterable[Path], read: Collection[Path]) -> None:
    """Remove files, but for those that are read, or lie in a folder that is; how many is said.

    Args:
        found: what an earlier run wrote and this one did not.
        read: resolved paths of inputs.
    """
    removed: dict[Path, int] = {}
    for path in found:
        there = path.resolve()
        if path.is_file() and not {there, *there.parents} & set(read):
            path.unlink()
            removed[path.parent] = removed.get(path.parent, 0) + 1
    for folder, count in removed.items():
        click.echo(f"{folder}: {count} of an earlier run's results removed", err=True)


def surplus_views(folder: Path, count: int) -> list[Path]:
    """Views of a scene beyond so many, as far as they are numbered on without a gap; none without their GIF."""
    found: list[Path] = []
    while (path := folder / f"{count + len(found):03d}.png").is_file():
        found.append(path)
    return _as_old_as(folder / "turntable.gif", found)


def surplus_results(report: Path, name: str, written: Collection[str]) -> list[Path]:
    """What a report of different results of ``name`` tells of, but for the file names ``written``."""
    told = _stored(report).get("results")
    pattern = re.compile(re.escape(name) + r"-\d{2}\.(png|jpg|webp)")
    names = [each for each in told if isinstance(each, str)] if isinstance(told, list) else []
    left = (report.parent / each for each in names if pattern.fullmatch(each) and each not in written)
    return _as_old_as(report, [path for path in left if path.is_file()])


class FrameRecord:
    """Which frames of a source a folder has.

    Args:
        folder: of the results.
        source: folder of the frames; what was made of another one is not told.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self._folder, self._source = folder, os.path.relpath(source.resolve(), folder.resolve())
        stored = _stored(folder / RECORD)
        names = stored.get("frames") if stored.get("source") == self._source else None
        self._before = {str(name) for name in names} if isinstance(names, list) else set[str]()

    def begin(self, names: Collection[str]) -> None:
        """Tell of frames before they are written, such that a run that is stopped is known; not of files of others."""
        self._write(self._before | {name for name in names if not (self._folder / name).exists()})

    def end(self, names: Collection[str]) -> list[Path]:
        """Tell of the frames that were written; return those of earlier runs that were not."""
        self._write(set(names))
        left = sorted(self._before - set(names))
        return [self._folder / name for name in left if name == Path(name).name and name.endswith(".png")]

    def _write(self, names: Collection[str]) -> None:
        told = {"source": self._source, "frames": sorted(names)}
        write_file(self._folder / RECORD, (json.dumps(told) + "\n").encode())


def _as_old_as(mark: Path, found: Iterable[Path]) -> list[Path]:
    """Files that were there when what is written last was; none where it is not there."""
    if not mark.is_file():
        return []
    return [path for path in found if path.stat().st_mtime_ns <= mark.stat().st_mtime_ns]


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

"""Saved indexes: folders that are there as a whole, checked before they are read.

An index can always be built again from the vectors; a saved one only spares the time. It says up to which entry of the
log it holds everything, and which slots it holds: what changed since is made up for from the database.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile, TieredRetrievalError
from ..index import Index
from ..space import Space
from .files import checksum, naming_full_disks, read_json, sync_file, sync_folder, write_json
from .policy import Plan, index_kind
from .served_index import Serving

_log = logging.getLogger(__name__)
_SAVED = "the index is built again from the vectors"
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """An index as it was loaded.

    Attributes:
        serving: the index.
        entry: the last one of the log that it holds.
        live: slots that it holds.
    """

    serving: Serving
    entry: int
    live: NDArray[np.int64]


def save_index(folder: Path, serving: Serving, entry: int, live: NDArray[np.int64], *, measured: bool = False) -> Path:
    """Save an index aside, rename it into place, and remove older ones; nothing may change it meanwhile.

    One that holds the same already stays, unless what recall takes was `measured` anew.
    """
    folder.mkdir(exist_ok=True)
    aside, place = folder / "new", folder / f"{entry:020}"
    if place.exists() and not measured and _is_saved(place, serving.plan):
        return place
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with naming_full_disks(aside):
            serving.index.save(aside)
            np.save(aside / "slots.npy", live)
            _write_manifest(aside, serving, entry)
            # One of the same entry lies in another tier, or is of another kind.
            shutil.rmtree(place, ignore_errors=True)
            aside.rename(place)
            sync_folder(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for older in saved_indexes(folder):
        if older != place:
            shutil.rmtree(older, ignore_errors=True)
    return place


def load_index(
    folder: Path, space: Space, newest: int, open_region: Callable[[str], Any], problems: list[str]
) -> SavedIndex | None:
    """Load the newest index that is whole; why others were passed over is added to `problems`."""
    for place in reversed(saved_indexes(folder)):
        try:
            saved = _loaded(place, space, open_region)
            if saved.entry <= newest:
                return saved
            problems.append(f"{place}: it holds entry {saved.entry} of {newest}; {_SAVED}")
        except (TieredRetrievalError, OSError, ValueError, KeyError, TypeError, ImportError, MemoryError) as error:
            problems.append(str(error) if isinstance(error, CorruptFile) else f"{place}: {error}; {_SAVED}")
            _log.warning("a saved index cannot be used: %s", problems[-1])
    return None


def saved_indexes(folder: Path) -> list[Path]:
    """Return the folders of saved indexes, the oldest first."""
    return sorted(path for path in folder.glob("*") if path.name.isdecimal())


def _is_saved(place: Path, plan: Plan) -> bool:
    try:
        content = read_json(place / _MANIFEST, _SAVED)
        return plan.same_as(Plan(content["kind"], content["options"], content["region"]))
    except (TieredRetrievalError, OSError, KeyError):
        return False


def _write_manifest(aside: Path, serving: Serving, entry: int) -> None:
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    for path in files:
        sync_file(path)
    plan = serving.plan
    content = {
        "entry": entry,
        "kind": plan.kind,
        "options": dict(plan.options),
        "region": plan.region,
        "reason": plan.reason,
        "built_with": serving.built_with,
        "files": {str(path.relative_to(aside)): [path.stat().st_size, checksum(path)] for path in files},
    }
    write_json(aside / _MANIFEST, content)


def _loaded(place: Path, space: Space, open_region: Callable[[str], Any]) -> SavedIndex:
    manifest = read_json(place / _MANIFEST, _SAVED)
    for name, (size, total) in manifest["files"].items():
        path = place / name
        if not path.is_file() or path.stat().st_size != size or checksum(path) != total:
            raise CorruptFile(path, 0, "its length or checksum is another", _SAVED)
    plan = Plan(manifest["kind"], manifest["options"], manifest["region"], manifest["reason"])
    region = open_region(plan.region) if plan.region else None
    index: Index = index_kind(plan.kind).load(place, space, region=region)
    live = np.load(place / "slots.npy", allow_pickle=False)
    return SavedIndex(Serving(index, plan, int(manifest["built_with"])), int(manifest["entry"]), live)

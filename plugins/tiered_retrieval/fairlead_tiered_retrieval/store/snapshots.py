"""Copies of a collection as it was at one moment, taken while writes go on."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ..errors import NotFound, TieredRetrievalError
from .applying import Parts
from .catalog import Catalog
from .files import naming_full_disks, sync_file, sync_folder
from .index_folder import saved_indexes
from .opening import CATALOG, COLLECTION, INDEX, VECTORS

SNAPSHOTS = "snapshots"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str, what: str) -> str:
    """Return a name that can be a folder's; raises TieredRetrievalError for another."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TieredRetrievalError(
            f"{what} {name!r:.120}; accepted: letters, digits, '.', '_', '-', up to 100, no first '.'"
        )
    return name


def take_snapshot(folder: Path, parts: Parts, name: str) -> Path:
    """Copy a collection into its folder of snapshots; raises TieredRetrievalError where there is one of the name."""
    place = folder / SNAPSHOTS / check_name(name, "snapshot")
    if place.exists():
        raise TieredRetrievalError(f"snapshot {name!r} is there already; accepted: another name")
    aside = place.with_name(f".{name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    with naming_full_disks(aside):
        aside.mkdir(parents=True)
        try:
            _copy(folder, parts, aside)
            aside.rename(place)
            sync_folder(place.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return place


def snapshots(folder: Path) -> list[str]:
    """Return the names of a collection's snapshots."""
    return sorted(path.name for path in (folder / SNAPSHOTS).glob("[!.]*") if path.is_dir())


def delete_snapshot(folder: Path, name: str) -> None:
    """Remove a snapshot."""
    shutil.rmtree(find_snapshot(folder, name))


def find_snapshot(folder: Path, name: str) -> Path:
    """Return a snapshot's folder; raises NotFound where there is none."""
    place = folder / SNAPSHOTS / check_name(name, "snapshot")
    if not place.is_dir():
        raise NotFound(f"snapshot {name!r} is not there; there are {', '.join(snapshots(folder)) or 'none'}")
    return place


def restore(snapshot: Path, folder: Path) -> None:
    """Make a collection's folder of a snapshot; the folder must not be there yet."""
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    with naming_full_disks(aside):
        try:
            shutil.copytree(snapshot, aside)
            for path in aside.rglob("*"):
                if path.is_file():
                    sync_file(path)
            aside.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _copy(folder: Path, parts: Parts, aside: Path) -> None:
    # No slot changes its owner meanwhile: the rows of all documents of the copied database stay what they are.
    with parts.slots.reading():
        parts.catalog.copy(aside / CATALOG)
        parts.file.copy(aside / VECTORS, parts.slots.top)
    copied = Catalog(aside / CATALOG)
    copied.made_durable(copied.state("applied"))
    copied.close()
    sync_file(aside / CATALOG)
    shutil.copy2(folder / COLLECTION, aside / COLLECTION)
    sync_file(aside / COLLECTION)
    for saved in saved_indexes(folder / INDEX)[-1:]:
        # A saved index never changes, so the copy may be the same files.
        shutil.copytree(saved, aside / INDEX / saved.name, copy_function=_linked)
    sync_folder(aside)


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target

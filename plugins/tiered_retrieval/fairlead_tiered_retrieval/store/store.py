"""A folder of collections under one budget of memory."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import NotFound, TieredRetrievalError
from ..index import Progress
from ..space import Space
from .collection import Collection
from .files import read_json, sync_folder, write_json
from .maintenance import GRAVES_S, Background
from .memory import MemoryBudget
from .opening import COLLECTION, write_space
from .policy import BySize, IndexPolicy
from .settings import StoreSettings
from .snapshots import check_name, find_snapshot, restore

_COLLECTIONS, _DROPPED = "collections", "dropped.json"


class Store:
    """Collections by name, opened when asked for. One process at a time has a store.

    Args:
        folder: of the store; made when missing.
        settings: how it keeps and searches.
        policy: which index each collection has; None: by its size.
        open_region: opens a tier by its URL; None: `tiers.open_region`.

    Raises:
        TieredRetrievalError: another process has it.
    """

    def __init__(
        self,
        folder: Path | str,
        settings: StoreSettings = StoreSettings(),
        *,
        policy: IndexPolicy | None = None,
        open_region: Callable[[str], Any] | None = None,
    ) -> None:
        self.folder, self.settings = Path(folder), settings
        (self.folder / _COLLECTIONS).mkdir(parents=True, exist_ok=True)
        self._guard = _locked(self.folder / "lock")
        self._policy = policy or BySize(settings.index_from)
        self._open_region = open_region or _region
        self._opened: dict[str, Collection] = {}
        self._lock = threading.RLock()
        self.memory = MemoryBudget(settings.memory_bytes, self._used)
        self._background = Background(settings.maintenance_s, self._steps) if settings.maintenance_s else None

    def create(self, name: str, space: Space) -> Collection:
        """Make a collection; raises TieredRetrievalError where there is one of the name."""
        place = self._place(name)
        with self._lock:
            if (place / COLLECTION).exists():
                raise TieredRetrievalError(f"collection {name!r} is there already; accepted: another name")
            # What is there without its description is left of a making that did not end.
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            sync_folder(place.parent)
            write_space(place, space)
            return self.collection(name)

    def collection(self, name: str) -> Collection:
        """Return a collection, opened if it was not; raises NotFound where there is none."""
        place = self._place(name)
        with self._lock:
            if name not in self._opened:
                if not (place / COLLECTION).exists():
                    raise NotFound(f"collection {name!r} is not there; there are {', '.join(self.names()) or 'none'}")
                self._opened[name] = Collection(place, self.settings, self._policy, self.memory, self._open_region)
            return self._opened[name]

    def names(self) -> list[str]:
        """Return the names of all collections."""
        return sorted(path.parent.name for path in (self.folder / _COLLECTIONS).glob(f"[!.]*/{COLLECTION}"))

    def drop(self, name: str) -> None:
        """Remove a collection with its snapshots; raises NotFound where there is none."""
        place = self._place(name)
        with self._lock:
            if not (place / COLLECTION).exists():
                raise NotFound(f"collection {name!r} is not there; there are {', '.join(self.names()) or 'none'}")
            if (opened := self._opened.pop(name, None)) is not None:
                opened.close()
            # Without its description it is none, also where what follows is interrupted.
            (place / COLLECTION).unlink()
            sync_folder(place)
            shutil.rmtree(place)
            self._note_dropped(name)

    def restore(self, name: str, snapshot: str, into: str) -> Collection:
        """Make a new collection of a collection's snapshot."""
        source = find_snapshot(self._place(name), snapshot)
        place = self._place(into)
        with self._lock:
            if place.exists():
                raise TieredRetrievalError(f"collection {into!r} is there already; accepted: another name")
            restore(source, place)
            return self.collection(into)

    def dropped(self) -> dict[str, int]:
        """Return when collections were removed last (Unix ms); some may have been made again since."""
        path = self.folder / _DROPPED
        return read_json(path, "it may be removed") if path.exists() else {}

    def _note_dropped(self, name: str) -> None:
        now = int(time.time() * 1000)
        kept = {each: at for each, at in self.dropped().items() if at >= now - 1000 * GRAVES_S}
        write_json(self.folder / _DROPPED, {**kept, name: now})

    def limit(self, memory_bytes: int | None) -> None:
        """Set the budget of memory: writes and builds that would pass it are refused from now on."""
        self.memory.budget = memory_bytes

    def close(self) -> None:
        """Write what waits, then close all collections."""
        if self._background is not None:
            self._background.stop()
            self._background = None
        with self._lock:
            for opened in self._opened.values():
                opened.close()
            self._opened.clear()
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, name: str) -> Path:
        return self.folder / _COLLECTIONS / check_name(name, "collection")

    def _used(self) -> int:
        return sum(opened.memory_bytes for opened in tuple(self._opened.values()))

    def _steps(self) -> list[Callable[[], Progress]]:
        return [opened.maintain for opened in tuple(self._opened.values())]


def _locked(path: Path) -> int:
    guard = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(guard)
        raise TieredRetrievalError(f"{path.parent}: another process has this store; accepted: one at a time") from None
    return guard


def _region(url: str) -> Any:
    from ..tiers import open_region

    return open_region(url)

"""Between the prefix cache in memory and the sessions on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from fairlead_language_model.graph import PrefixCache
from fairlead_language_model.serving import EngineClosed, Request

from .session_file import Session
from .store import SessionStore

Result = TypeVar("Result")


class InCache(Protocol):
    """Runs a job on the prefix cache between two turns of the engine; raises EngineClosed once there are no more."""

    def __call__(self, job: Callable[[PrefixCache], Result]) -> Result:
        """Return what the job returns."""
        ...


class SessionKeeper:
    """Keeps what requests with a session computed, and brings it back; without a store it does nothing."""

    def __init__(self, store: SessionStore | None, in_cache: InCache) -> None:
        self.store, self._in_cache = store, in_cache

    def recall(self, request: Request) -> int:
        """Bring what the disk holds of a request's prompt to memory, where that is more than what is there.

        Blocks: not for the event loop, nor for the generation thread. Returns how many tokens were brought.
        """
        if self.store is None or request.session is None:
            return 0
        try:
            brought = self._recall(self.store, request.session, request.prompt)
        except EngineClosed:
            return 0
        self.store.recalled_tokens += brought
        return brought

    def _recall(self, store: SessionStore, name: str, prompt: tuple[int, ...]) -> int:
        known = self._in_cache(lambda cache: cache.match(prompt))
        session = store.load(name) if known < len(prompt) - 1 else None
        agreeing = 0 if session is None else _agreeing(session.tokens, prompt)
        if session is None or agreeing <= known:
            return 0
        try:
            return agreeing if self._in_cache(lambda cache: cache.restore(prompt[:agreeing], session.arrays)) else 0
        except ValueError as error:
            store.ignore(f"{name}: {error}")
            return 0

    def keep(self, name: str | None, tokens: list[int]) -> None:
        """Have what the cache holds of a sequence that ended written to disk. Does not block."""
        if self.store is not None and name is not None:
            self.store.save(name, lambda: self._fetch(tokens))

    def _fetch(self, tokens: list[int]) -> Session | None:
        try:
            length, arrays = self._in_cache(lambda cache: cache.export(tokens))
        except EngineClosed:
            return None
        return Session(tokens[:length], arrays) if length else None

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all is written; false when time ran out."""
        return self.store is None or self.store.flush(timeout_s)

    def close(self) -> None:
        """Write what waits, while the engine still runs."""
        if self.store is not None:
            self.store.close()


def _agreeing(one: list[int], other: tuple[int, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))

"""Finds stop strings in streamed text."""

from __future__ import annotations

from collections.abc import Iterable


class StopMatcher:
    """Passes text on until a stop string appears, and holds back only what may still become one.

    The text before the earliest stop string is emitted, the stop string and everything after it is not: whatever the
    pieces, the concatenation of what `feed` and `flush` return is the same. Where two stop strings begin at the same
    place, `matched` names the shorter one, which is complete first.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(sorted({stop for stop in stops if stop}, key=lambda stop: (len(stop), stop)))
        self._held = ""
        self.matched: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string has been found."""
        return self.matched is not None

    def feed(self, text: str) -> str:
        """Take the next piece; return what can be shown now."""
        if self.stopped:
            return ""
        self._held += text
        # A longer stop string that began earlier may still complete, and would then come first.
        pending = self._pending()
        end = self._match(pending)
        return self._take(pending, keep=True) if end is None else self._take(end, keep=False)

    def flush(self) -> str:
        """End the stream; return what was held back, as no stop string can complete any more."""
        if self.stopped:
            return ""
        end = self._match(len(self._held))
        return self._take(len(self._held) if end is None else end, keep=False)

    def _match(self, limit: int) -> int | None:
        """Record the earliest stop string that begins at `limit` or before, and return where it does."""
        found = [(at, len(stop), stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if not found or min(found)[0] > limit:
            return None
        at, _, self.matched = min(found)
        return at

    def _pending(self) -> int:
        """Return where the earliest unfinished stop string may begin (the end of the text if there is none)."""
        longest = max(map(len, self._stops), default=0)
        for start in range(max(0, len(self._held) - longest + 1), len(self._held)):
            tail = self._held[start:]
            if any(len(stop) > len(tail) and stop.startswith(tail) for stop in self._stops):
                return start
        return len(self._held)

    def _take(self, end: int, *, keep: bool) -> str:
        ready, self._held = self._held[:end], self._held[end:] if keep else ""
        return ready

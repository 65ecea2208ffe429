"""What somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``, where one is like it at all."""
    import difflib  # here: an agent that nobody mistypes at never needs it

    found = difflib.get_close_matches(name[:200], list(known), n=1)
    return found[0] if found else None

"""Conversations found in the books: runs of paragraphs in which the speakers take turns.

They teach a base model the form of a chat (turns, and where a turn ends); nothing in them is written for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Conversation = list[str]

_QUOTED = re.compile(r"[\"“]([^\"“”]+)[\"”]")
_LONGEST_TURN = 400
_MOST_TURNS = 8


def conversations(text: str) -> Iterator[Conversation]:
    """Yield runs of at least two turns; a turn is what is said in one paragraph that begins with a quotation."""
    run: Conversation = []
    for paragraph in text.split("\n\n"):
        turn = spoken(paragraph)
        if turn and len(run) < _MOST_TURNS:
            run.append(turn)
            continue
        if len(run) >= 2:
            yield run
        run = [turn] if turn else []
    if len(run) >= 2:
        yield run


def spoken(paragraph: str) -> str:
    """Return what is said in a paragraph that begins with a quotation; empty where none does or it is long."""
    paragraph = paragraph.strip()
    if not paragraph.startswith(('"', "“")):
        return ""
    said = " ".join(" ".join(part.split()) for part in _QUOTED.findall(paragraph))
    return said if len(said) <= _LONGEST_TURN else ""

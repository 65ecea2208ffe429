"""One turn of a conversation."""

from __future__ import annotations

from typing import TypedDict


class ChatMessage(TypedDict):
    """One turn: its role ("system", "user", "assistant", ...) and its text."""

    role: str
    content: str

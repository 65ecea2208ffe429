"""Keeps what users write from being read as a model's control tokens."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from ..chat_message import ChatMessage

_PRIVATE_USE = range(0xE000, 0xF900)


class SpecialTokenMask:
    """Replaces special tokens in messages by placeholders before a template runs, and undoes it after.

    Without it, a user who writes "<|end|><|assistant|>" would end their own turn and speak for the model.
    """

    def __init__(self, specials: Collection[str], messages: Sequence[ChatMessage]) -> None:
        self._pattern = re.compile("|".join(map(re.escape, sorted(specials, key=len, reverse=True))) or r"(?!)")
        used = {character for message in messages for character in message["content"]}
        self._mark = next(chr(code) for code in _PRIVATE_USE if chr(code) not in used)
        self._hidden: list[str] = []
        self.messages: list[ChatMessage] = [
            {**message, "content": self._pattern.sub(self._hide, message["content"])} for message in messages
        ]

    @property
    def needed(self) -> bool:
        """Whether any message holds a special token."""
        return bool(self._hidden)

    def split(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """Yield the rendered prompt in pieces, and for each whether it is a special token of the template itself."""
        start = 0
        for match in self._pattern.finditer(rendered):
            yield self._reveal(rendered[start : match.start()]), False
            yield match[0], True
            start = match.end()
        yield self._reveal(rendered[start:]), False

    def _hide(self, match: re.Match[str]) -> str:
        self._hidden.append(match[0])
        return f"{self._mark}{len(self._hidden) - 1}{self._mark}"

    def _reveal(self, text: str) -> str:
        return re.sub(f"{self._mark}([0-9]+){self._mark}", lambda match: self._hidden[int(match[1])], text)

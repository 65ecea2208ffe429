"""Turns tokens into text as they come."""

from __future__ import annotations

import codecs

from .token_bytes import TokenBytes


class StreamDecoder:
    """Decodes token by token, and never emits a part of a character.

    The concatenation of what `feed` and `flush` return equals the decoding of all tokens at once. Bytes that are not
    UTF-8 become U+FFFD, as soon as it is certain that they cannot be completed.
    """

    def __init__(self, token_bytes: TokenBytes, *, skip_special: bool = True, starts_text: bool = False) -> None:
        """Begin a stream; `starts_text` says that no text precedes it, so that SentencePiece's first space goes."""
        self._token_bytes = token_bytes
        self._skipped = token_bytes.specials if skip_special else frozenset[int]()
        self._strip = starts_text and token_bytes.strips_leading_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """Take one token; return the characters that it completes."""
        if token in self._skipped:
            return ""
        return self._stripped(self._utf8.decode(self._token_bytes[token]))

    def flush(self) -> str:
        """End the stream; return what an unfinished character becomes."""
        return self._stripped(self._utf8.decode(b"", final=True))

    def _stripped(self, text: str) -> str:
        if not self._strip or not text:
            return text
        self._strip = False
        return text.removeprefix(" ")

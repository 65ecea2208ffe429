"""The bytes that each token stands for."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, cast

import tokenizers

from ..errors import TokenizerError

_SPACE_MARK = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SENTENCEPIECE_STEPS = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


class TokenBytes:
    """Maps token ids to bytes, for tokenizers of the byte-level kind (GPT-2) and of the SentencePiece kind.

    Bytes rather than text, as one character may be spread over several tokens.
    """

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        steps = _decoder_steps(json.loads(core.to_str()).get("decoder"))
        self._byte_level = "ByteLevel" in {step["type"] for step in steps}
        if not self._byte_level and not _is_sentencepiece(steps):
            kinds = [step["type"] for step in steps]
            raise TokenizerError(f"decoder {kinds}: accepted: ByteLevel, or Replace with ByteFallback, or Metaspace")
        self.strips_leading_space = not self._byte_level and any(map(_strips, steps))
        self._core = core
        self.specials = frozenset(i for i, token in core.get_added_tokens_decoder().items() if token.special)
        self._known: dict[int, bytes] = {}

    def __getitem__(self, token: int) -> bytes:
        """Return the bytes of a token; none for an id that the vocabulary leaves empty (padding of the embedding)."""
        known = self._known.get(token)
        if known is None:
            if token < 0:
                raise TokenizerError(f"token id {token}: accepted: 0 and above")
            known = self._known[token] = self._spell(self._core.id_to_token(token) or "")
        return known

    def _spell(self, piece: str) -> bytes:
        if self._byte_level:
            values = [byte_of_character().get(character) for character in piece]
            # An added token is written as it is, not in the byte alphabet.
            return piece.encode() if None in values else bytes(cast("list[int]", values))
        byte = _BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE_MARK, " ").encode()


@cache
def byte_of_character() -> dict[str, int]:
    """Return GPT-2's alphabet: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _decoder_steps(decoder: Any) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [step for inner in decoder["decoders"] for step in _decoder_steps(inner)]
    return [decoder]


def _is_sentencepiece(steps: list[dict[str, Any]]) -> bool:
    kinds = {step["type"] for step in steps}
    return bool(kinds & {"Metaspace", "Replace"}) and kinds <= _SENTENCEPIECE_STEPS


def _strips(step: dict[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return step.get("prepend_scheme", "always") != "never"
    return step["type"] == "Strip" and step.get("start", 0) > 0

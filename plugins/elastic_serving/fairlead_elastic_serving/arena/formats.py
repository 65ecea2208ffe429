"""Formats of a unified page: one typeless run of bytes whose six segments are laid out when it is handed out.

The segments are keys, the keys' scales and zero points, values, the values' scales and zero points, scores, and
positions (LeanKV, section "unified pages"). A page holds tokens of one head of one layer of one sequence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

BITS = (2, 4, 8, 16, 32)
META_BYTES = 4
"""A scale and a zero point, both float16, for each quantized vector."""
SCORE_BYTES = 2
POSITION_BYTES = 4
ALIGNMENT = 16
"""Each segment begins at a multiple of it, so that a device loads 16 bytes at once."""


@dataclass(frozen=True, slots=True)
class KVFormat:
    """How many bits an element of a key and of a value takes. 16 and 32 bits are floats and have no scale."""

    key_bits: int
    value_bits: int

    def __post_init__(self) -> None:
        for name, bits in (("key_bits", self.key_bits), ("value_bits", self.value_bits)):
            if bits not in BITS:
                raise ValueError(f"{name} {bits}: accepted: {', '.join(map(str, BITS))}")

    def __str__(self) -> str:
        return f"K{self.key_bits}V{self.value_bits}"

    @classmethod
    def parse(cls, text: str) -> KVFormat:
        """Read ``K8V4`` and the like; raises ValueError."""
        found = re.fullmatch(r"K(\d+)V(\d+)", text)
        if found is None:
            raise ValueError(f"format {text!r}: accepted: K<bits>V<bits>, for example K8V4")
        return cls(int(found[1]), int(found[2]))

    def token_bytes(self, head_dim: int, *, bookkeeping: bool = True) -> int:
        """Return the bytes of one token of one head; without ``bookkeeping`` those of score and position are left
        out.
        """
        stored = sum(bits * head_dim // 8 + _meta_bytes(bits) for bits in (self.key_bits, self.value_bits))
        return stored + (SCORE_BYTES + POSITION_BYTES if bookkeeping else 0)

    def ratio(self, head_dim: int, *, bookkeeping: bool = True) -> float:
        """Return how many times smaller a token is than with float16 keys and values (LeanKV, table of tiers)."""
        return 4 * head_dim / self.token_bytes(head_dim, bookkeeping=bookkeeping)


K32V32 = KVFormat(32, 32)
K16V16 = KVFormat(16, 16)
K8V8 = KVFormat(8, 8)
K8V4 = KVFormat(8, 4)
K4V4 = KVFormat(4, 4)
K4V2 = KVFormat(4, 2)


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Where the segments of a page of one format lie, in bytes from the page's beginning.

    keys: [tokens, head_dim * bits / 8]; key_meta and value_meta: float16 [tokens, 2], scale and zero point (an empty
    segment for floats); scores: float16 [tokens]; positions: int32 [tokens].
    """

    format: KVFormat
    head_dim: int
    page_bytes: int
    tokens: int
    keys: int
    key_meta: int
    values: int
    value_meta: int
    scores: int
    positions: int

    @property
    def used_bytes(self) -> int:
        """Bytes up to the end of the last segment."""
        return self.positions + self.tokens * POSITION_BYTES

    def pages_for(self, tokens: int) -> int:
        """Return how many pages hold a number of tokens."""
        return -(-tokens // self.tokens)


@cache
def page_layout(format: KVFormat, head_dim: int, page_bytes: int) -> PageLayout:
    """Lay a page out for as many tokens as fit.

    Raises:
        ValueError: the head dimension does not fill whole bytes in every plane, or no token fits.
    """
    if head_dim < 8 or head_dim % 8:
        raise ValueError(f"head_dim {head_dim}: accepted: multiples of 8")
    if page_bytes < ALIGNMENT or page_bytes % ALIGNMENT:
        raise ValueError(f"page_bytes {page_bytes}: accepted: multiples of {ALIGNMENT}")
    for tokens in range(page_bytes // format.token_bytes(head_dim), 0, -1):
        layout = _laid_out(format, head_dim, page_bytes, tokens)
        if layout.used_bytes <= page_bytes:
            return layout
    raise ValueError(
        f"page_bytes {page_bytes}: no token of {format.token_bytes(head_dim)} bytes fits; accepted: larger pages"
    )


def _laid_out(format: KVFormat, head_dim: int, page_bytes: int, tokens: int) -> PageLayout:
    sizes = (
        format.key_bits * head_dim // 8,
        _meta_bytes(format.key_bits),
        format.value_bits * head_dim // 8,
        _meta_bytes(format.value_bits),
        SCORE_BYTES,
        POSITION_BYTES,
    )
    starts, at = [], 0
    for size in sizes:
        starts.append(at)
        at += -(-size * tokens // ALIGNMENT) * ALIGNMENT
    return PageLayout(format, head_dim, page_bytes, tokens, *starts)


def _meta_bytes(bits: int) -> int:
    return META_BYTES if bits < 16 else 0

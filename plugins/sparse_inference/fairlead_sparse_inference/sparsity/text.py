"""Text as windows of tokens: a text file, or a corpus split into parts exactly as the training command splits it."""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.tokenizer import Tokenizer

from ..train.batches import windows
from ..train.corpus import Book, CorpusError, read_books, split, strip_header

_MOST_CHARACTERS_A_TOKEN = 8
PARTS = ("train", "validation", "test", "all")


@dataclass(frozen=True, slots=True)
class TextWindows:
    """`rows` are consecutive windows, int64 [windows, context + 1]: each is inputs and, shifted by one, targets."""

    rows: NDArray[np.int64]
    documents: tuple[str, ...]
    bytes_per_token: float

    @property
    def tokens(self) -> int:
        """How many tokens are predicted."""
        return self.rows.shape[0] * (self.rows.shape[1] - 1)


def part_option(default: str) -> click.decorators.FC:
    """Return the option that chooses a part of the text."""
    text = (
        "Part of the text. A corpus of ten books or more is split by book, other text by region, as train-tiny does; "
        "look at `test` once."
    )
    return click.option("--part", type=click.Choice(PARTS), default=default, show_default=True, help=text)


def read_books_or_text(source: Path) -> list[Book]:
    """Read a corpus (a directory or tar archive of Markdown) or one text file, plain or .xz."""
    if source.is_dir() or source.suffixes[-2:] in ([".tar", ".xz"], [".tar", ".gz"]) or source.suffix == ".tar":
        return read_books(source)
    if not source.is_file():
        raise CorpusError(f"text {source}: no such file or directory")
    try:
        raw = lzma.decompress(source.read_bytes()) if source.suffix == ".xz" else source.read_bytes()
    except lzma.LZMAError as error:
        raise CorpusError(f"text {source}: is no whole .xz file: {error}") from error
    try:
        text = strip_header(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CorpusError(f"text {source}: byte {error.start} is no UTF-8 text; accepted: UTF-8") from None
    if not text:
        raise CorpusError(f"text {source}: holds no text")
    return [Book(source.stem, text)]


def part_of(books: list[Book], part: str) -> list[Book]:
    """Return one part of the split that the training command makes, or all books."""
    return books if part == "all" else getattr(split(books), part)


def encode(books: Iterable[Book], tokenizer: Tokenizer, config: ModelConfig) -> NDArray[np.int64]:
    """Return one stream: each document between a begin and an end token, where the model has them."""
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else config.bos_token_id
    begin = [] if bos is None else [bos]
    end = list(config.eos_token_ids[:1])
    stream: list[int] = []
    for book in books:
        stream += [*begin, *tokenizer.encode(book.text, add_special_tokens=False, parse_special=False), *end]
    return np.asarray(stream, np.int64)


def excerpts(books: list[Book], characters: int) -> list[Book]:
    """Return the middle of each book, in proportion to its length, about as many characters as asked for in all."""
    total = sum(len(book.text) for book in books)
    if total <= characters:
        return books
    kept: list[Book] = []
    for book in books:
        size = max(1, len(book.text) * characters // total)
        start = (len(book.text) - size) // 2
        kept.append(Book(book.name, book.text[start : start + size]))
    return kept


def read_windows(
    source: Path, part: str, tokenizer: Tokenizer, config: ModelConfig, tokens: int | None, context: int | None = None
) -> TextWindows:
    """Read a part of a text as windows of `context` tokens (the model's, at most 512, by default).

    Where only so many `tokens` are wanted, they come from the middles of all documents. Raises CorpusError,
    TokenizerError, or ValueError for text that does not fill one window or tokens that the model does not know.
    """
    size = min(context or 512, config.max_position_embeddings)
    books = part_of(read_books_or_text(source), part)
    if tokens is not None:
        books = excerpts(books, max(tokens, 2 * size) * _MOST_CHARACTERS_A_TOKEN)
    stream = encode(books, tokenizer, config)
    if stream.size and int(stream.max()) >= config.vocab_size:
        raise ValueError(
            f"the tokenizer gives token {int(stream.max())}, the model knows {config.vocab_size}: another model's?"
        )
    rows = windows(stream, size, None if tokens is None else max(1, -(-tokens // size)))
    size_bytes = sum(len(book.text.encode()) for book in books)
    return TextWindows(rows, tuple(sorted({book.name for book in books})), size_bytes / len(stream))

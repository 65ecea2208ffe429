"""Books in Markdown, from a directory or a tar archive, split by book into train, validation and test."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_HEADER_LINE = re.compile(r"^\s*(#+\s*(title|author|year|source|translator|language)\s*:.*|-{3,}|\*{3,})?\s*$", re.I)
_GUTENBERG_START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG.*$", re.M)
_GUTENBERG_END = re.compile(r"^\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG.*$", re.M)
_REGION_BELOW_BOOKS = 10
_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Book:
    """One document: the name of its file without the suffix, and its text without the header."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """The three parts of a corpus; `by` says what was kept apart, whole books or regions of each book."""

    train: list[Book]
    validation: list[Book]
    test: list[Book]
    by: str


class CorpusError(ValueError):
    """The corpus cannot be read or holds no text."""


def read_books(source: Path) -> list[Book]:
    """Read every Markdown file under a directory, or inside a tar archive, sorted by name."""
    if source.is_dir():
        raw = ((path.stem, path.read_bytes()) for path in source.rglob("*.md"))
    elif source.is_file() and tarfile.is_tarfile(source):
        raw = _members(source)
    else:
        raise CorpusError(f"corpus {source}: expected a directory of .md files or a tar archive of them")
    books = [Book(name, strip_header(data.decode("utf-8", "replace"))) for name, data in raw]
    books = sorted((book for book in books if book.text), key=lambda book: book.name)
    if not books:
        raise CorpusError(f"corpus {source}: holds no .md file with text")
    return books


def _members(source: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(source) as archive:
        for member in archive:
            data = archive.extractfile(member) if member.isfile() and member.name.endswith(".md") else None
            if data is not None:
                yield Path(member.name).stem, data.read()


def strip_header(text: str) -> str:
    """Remove title, author and year lines and a library's boilerplate; normalise line ends and blank lines."""
    text = text.replace("\r\n", "\n")
    if start := _GUTENBERG_START.search(text):
        text = text[start.end() :]
    if end := _GUTENBERG_END.search(text):
        text = text[: end.start()]
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if not _HEADER_LINE.match(line)), len(lines))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines[first:])).strip()


#: Names of books kept apart, by part: validation, test.
Held = Mapping[str, Sequence[str]]


def split(books: list[Book], held: Held | None = None) -> Corpus:
    """Keep about 4 % of the text apart for validation and 4 % for test.

    Whole books are kept apart where there are at least ten, in the order of a hash of their names, so that the
    split never depends on the order of files; else the last regions of every book. Where `held` names books, those are
    kept apart and no others: a corpus that grew is still tested on the books that it was tested on.

    Raises:
        CorpusError: a book that is named is not there.
    """
    if held and any(held.values()):
        return _split_named(books, held)
    if len(books) < _REGION_BELOW_BOOKS:
        return _split_regions(books)
    total = sum(len(book.text) for book in books)
    # A book above 5 % of the text would by itself overfill a held-out part.
    order = sorted(books, key=lambda book: hashlib.sha256(book.name.encode()).digest())
    held: dict[str, list[Book]] = {"test": [], "validation": []}
    rest: list[Book] = []
    for book in order:
        room = [part for part in held if sum(len(b.text) for b in held[part]) < _SHARE * total]
        fits = room and len(book.text) <= 0.05 * total
        (held[room[0]] if fits else rest).append(book)
    return Corpus(rest, held["validation"], held["test"], "book")


def _split_named(books: list[Book], held: Held) -> Corpus:
    named = {name: part for part, names in held.items() for name in names}
    if missing := sorted(named.keys() - {book.name for book in books}):
        raise CorpusError(f"no book of the corpus is named {', '.join(missing)}; accepted: names of files without .md")
    if empty := [part for part, names in held.items() if not names]:
        raise CorpusError(f"books are named for one part only: name some for {', '.join(empty)} too")
    parts: dict[str, list[Book]] = {"train": [], "validation": [], "test": []}
    for book in sorted(books, key=lambda book: hashlib.sha256(book.name.encode()).digest()):
        parts[named.get(book.name, "train")].append(book)
    return Corpus(parts["train"], parts["validation"], parts["test"], "book")


def _split_regions(books: list[Book]) -> Corpus:
    parts: tuple[list[Book], list[Book], list[Book]] = ([], [], [])
    for book in books:
        cuts = (0, int(len(book.text) * 0.9), int(len(book.text) * 0.95), len(book.text))
        for part, (start, stop) in zip(parts, pairwise(cuts), strict=True):
            part.append(Book(book.name, book.text[start:stop]))
    return Corpus(*parts, "region")

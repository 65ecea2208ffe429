"""Turns a corpus into the tokenizer and token streams of a run, once; a resumed run reads them back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .corpus import Corpus, Held, read_books, split
from .tokenizer import encode_books, encode_conversations, train_tokenizer


@dataclass(frozen=True, slots=True)
class Prepared:
    """Streams are uint16 token ids; `facts` says what was split how, for the model card."""

    tokenizer: Tokenizer
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    facts: dict[str, object]


def prepare(source: Path, vocabulary: int, directory: Path, held: Held | None = None) -> Prepared:
    """Read what an earlier run prepared in `directory`, else prepare it from the corpus; `held`: see `split`.

    Raises:
        ValueError: what is there was prepared for another vocabulary.
    """
    if not (directory / "facts.json").exists():
        _write(split(read_books(source), held), vocabulary, directory)
    prepared = read_prepared(directory)
    wanted = prepared.facts.get("vocabulary", vocabulary)
    if wanted != vocabulary:
        raise ValueError(f"{directory} was prepared with --vocabulary {wanted}, not {vocabulary}")
    return prepared


def read_prepared(directory: Path) -> Prepared:
    """Read the tokenizer, streams and facts of a run directory.

    Raises:
        ValueError: there is no run.
    """
    if not (directory / "facts.json").exists():
        raise ValueError(f"{directory}: holds no run; `fairlead train-tiny CORPUS --run {directory}` begins one")
    streams = np.load(directory / "streams.npz")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    facts = json.loads((directory / "facts.json").read_text())
    return Prepared(tokenizer, streams["train"], streams["validation"], streams["test"], facts)


def _write(corpus: Corpus, vocabulary: int, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer((book.text for book in corpus.train), vocabulary)
    tokenizer.save(str(directory / "tokenizer.json"))
    books, talk = encode_books(tokenizer, corpus.train), encode_conversations(tokenizer, corpus.train)
    parts = {"validation": corpus.validation, "test": corpus.test}
    held = {name: encode_books(tokenizer, part) for name, part in parts.items()}
    streams: dict[str, Any] = {"train": np.concatenate((books, talk)), **held}
    np.savez_compressed(directory / "streams.npz", **streams)
    facts: dict[str, object] = {
        "vocabulary": vocabulary,
        "split_by": corpus.by,
        "conversation_tokens": len(talk),
        "train_tokens": len(books),
    }
    for name, part in {"train": corpus.train, **parts}.items():
        facts[f"{name}_documents"] = sorted({book.name for book in part})
        facts[f"{name}_bytes"] = sum(len(book.text.encode()) for book in part)
    facts |= {f"{name}_tokens": len(stream) for name, stream in held.items()}
    # Written last: its presence says that the rest is whole.
    (directory / "facts.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))

"""Documents of tasks with known answers, in plain text, beside prose: they count what a context is good for.

    recall      "# river amber" states a fact, "? river amber" asks for it later: the answer is the word after the key.
    copy        "> silence piece trust" shows a list, "= silence piece trust" repeats it: all but the first word follow.
    arithmetic  "37+48=85": the digits behind the equals sign.

Between them stand passages of the corpus, so that an answer lies as far back as the document is long. Words are single
tokens of the tokenizer; a document is as many tokens as are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .tokenizer import BEGIN

TASKS = ("recall", "copy", "arithmetic")
LARGEST_TERM = 49
_WORDS = 256
"""A few words that come often: a small model has little time to learn to repeat each of them."""
_PASSAGE = (16, 96)
_LIST = (4, 24)

Tokens = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids int64 [length], which of them are answers, and which the others foretell: bool [length] each."""

    tokens: Tokens
    answers: Mask
    foretold: Mask
    """The answers, and the ends of their lines."""


@dataclass(frozen=True, slots=True)
class _Line:
    tokens: Tokens
    answered: int
    """So many tokens at the end are answers."""


class Tasks:
    """Writes documents with a tokenizer's words and a stream's passages.

    Args:
        tokenizer: of the model.
        prose: token stream that passages are cut from.

    Raises:
        ValueError: the tokenizer knows too few words as single tokens, or the stream is shorter than a passage.
    """

    def __init__(self, tokenizer: Tokenizer, prose: NDArray[np.uint16]) -> None:
        if len(prose) <= _PASSAGE[1]:
            raise ValueError(f"{len(prose)} tokens of prose: accepted: more than {_PASSAGE[1]}")
        self._prose = prose
        self._begin = np.array([tokenizer.token_to_id(BEGIN)], np.int64)
        self.words = words_of(tokenizer)[:_WORDS]
        self._marks = {mark: _encode(tokenizer, mark) for mark in "#?>=\n"}
        pairs = np.indices((LARGEST_TERM + 1, LARGEST_TERM + 1)).reshape(2, -1).T
        asked = tokenizer.encode_batch([f"{a}+{b}=" for a, b in pairs.tolist()], add_special_tokens=False)
        digits = tokenizer.encode_batch([str(a + b) for a, b in pairs.tolist()], add_special_tokens=False)
        self._sums = [_Line(np.array(a.ids + d.ids, np.int64), len(d.ids)) for a, d in zip(asked, digits, strict=True)]

    def document(self, task: str, length: int, random: np.random.Generator, prose: float) -> Document:
        """Write a document of one task.

        Args:
            task: one of TASKS.
            length: in tokens, at least 32.
            random: decides everything.
            prose: share of passages among its tokens, 0 to below 1.
        """
        write = {"recall": self._recall, "copy": self._copy, "arithmetic": self._arithmetic}[task]
        lines = write(random, length)
        tokens, answers, ends, total, of_prose = [self._begin], [np.zeros(1, bool)], [np.zeros(1, bool)], 1, 0
        while total < length:
            is_prose = of_prose < prose * total and random.random() < 0.5
            line = _Line(self._passage(random), 0) if is_prose else next(lines)
            size = len(line.tokens)
            end = self._marks["\n"]
            tokens += [line.tokens, end]
            answers += [np.arange(size) >= size - line.answered, np.zeros(len(end), bool)]
            ends += [np.zeros(size, bool), np.full(len(end), line.answered > 0)]
            total += size + len(end)
            of_prose += size if is_prose else 0
        found, marked, ended = (np.concatenate(parts)[:length] for parts in (tokens, answers, ends))
        return Document(found, marked, marked | ended)

    def passage(self, length: int, random: np.random.Generator) -> Document:
        """Cut a document of prose alone; all of its tokens are to be foretold."""
        start = int(random.integers(len(self._prose) - length))
        every = np.ones(length, bool)
        return Document(self._prose[start : start + length].astype(np.int64), every, every)

    def fact(self, key: int, value: int, *, asked: bool) -> Tokens:
        """Return the line that states a fact or asks for it, its answer included, without the line's end."""
        return np.concatenate([self._marks["?" if asked else "#"], [key, value]])

    def _recall(self, random: np.random.Generator, length: int) -> Iterator[_Line]:
        # As many facts as leave room to ask for each about twice, however long the document is.
        most = int(random.integers(4, max(6, length // 24)))
        keys = random.choice(self.words, min(most, len(self.words)), replace=False)
        values = random.choice(self.words, len(keys))
        stated = 0
        while True:
            if stated < len(keys) and (stated == 0 or random.random() < 1 / 3):
                yield _Line(self.fact(keys[stated], values[stated], asked=False), 0)
                stated += 1
            else:
                which = int(random.integers(stated))
                yield _Line(self.fact(keys[which], values[which], asked=True), 1)

    def _copy(self, random: np.random.Generator, length: int) -> Iterator[_Line]:
        shown: list[Tokens] = []
        order = random.permutation(self.words)
        used = 0
        while True:
            if not shown or random.random() < 0.5:
                size = int(random.integers(*_LIST))
                if used + size > len(order):
                    used, shown, order = 0, [], random.permutation(self.words)
                shown.append(order[used : used + size])
                used += size
                yield _Line(np.concatenate([self._marks[">"], shown[-1]]), 0)
            else:
                again = shown[int(random.integers(len(shown)))]
                yield _Line(np.concatenate([self._marks["="], again]), len(again) - 1)

    def _arithmetic(self, random: np.random.Generator, length: int) -> Iterator[_Line]:
        while True:
            yield self._sums[int(random.integers(len(self._sums)))]

    def _passage(self, random: np.random.Generator) -> Tokens:
        size = int(random.integers(*_PASSAGE))
        start = int(random.integers(len(self._prose) - size))
        return self._prose[start : start + size].astype(np.int64)


def words_of(tokenizer: Tokenizer, least: int = 8) -> Tokens:
    """Return the ids of tokens that are a space and a word of lower-case letters, int64, in their order.

    Raises:
        ValueError: there are fewer than ``least``.
    """
    found = [
        number
        for text, number in tokenizer.get_vocab().items()
        if len(text) >= 3 and text[0] == "Ġ" and text[1:].isascii() and text[1:].isalpha() and text[1:].islower()
    ]
    if len(found) < least:
        raise ValueError(f"the tokenizer knows {len(found)} words as single tokens; accepted: at least {least}")
    return np.array(sorted(found), np.int64)


def parse_tasks(text: str) -> tuple[str, ...]:
    """Read names set apart by commas; raises ValueError for one that is none of TASKS."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in TASKS]:
        raise ValueError(f"task {unknown[0]!r}: accepted: {', '.join(TASKS)}")
    return names


def held_out(tasks: Tasks, names: Sequence[str], length: int, count: int, seed: int) -> dict[str, list[Document]]:
    """Write ``count`` documents of ``length`` tokens of each task, and of prose under "text"."""
    written = {
        name: [tasks.document(name, length, np.random.default_rng((seed, number, i)), prose=0.5) for i in range(count)]
        for number, name in enumerate(names)
    }
    return {**written, "text": [tasks.passage(length, np.random.default_rng((seed, 99, i))) for i in range(count)]}


def _encode(tokenizer: Tokenizer, text: str) -> Tokens:
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

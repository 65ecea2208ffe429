"""Keeps an answer to a form: a JSON schema, a grammar or a regular expression; `llguidance` does the parsing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import GrammarError, GrammarUnavailable
from .guide import Guide
from .tokenizer import Tokenizer

#: Between JSON's parts: nothing, a space, or a line break with an indent (llama.cpp's rule). A model that was not
#: trained on JSON would otherwise go on with spaces for ever.
_JSON_OPTIONS = {"whitespace_flexible": True, "whitespace_pattern": r"( |\n[ \t]{0,20})?"}
_KEPT = 32


class GrammarCompiler:
    """Compiles guides for one tokenizer, and keeps the last ones. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, end_tokens: frozenset[int]) -> None:
        """Prepare the vocabulary; raises GrammarUnavailable where the library is not installed."""
        try:
            import llguidance
        except ImportError as error:
            raise GrammarUnavailable from error
        ends = sorted(end_tokens) or None
        self._library: Any = llguidance
        self._vocabulary = llguidance.LLTokenizer(
            tokenizer.core.to_str(),
            n_vocab=tokenizer.vocab_size,
            eos_token=ends,  # pyright: ignore[reportArgumentType]
        )
        self._compiled: OrderedDict[Guide, Any] = OrderedDict()
        self._lock = Lock()

    def constraint(self, guide: Guide) -> Constraint:
        """Return a fresh constraint for one answer; raises GrammarError, which names the field and the mistake."""
        with self._lock:
            matcher = self._compiled.get(guide)
        if matcher is None:
            matcher = self._compile(guide)
        with self._lock:
            self._compiled[guide] = matcher
            self._compiled.move_to_end(guide)
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
            return Constraint(matcher.deep_copy())

    def _compile(self, guide: Guide) -> Any:
        matchers = self._library.LLMatcher
        try:
            if guide.kind == "json_schema":
                grammar = matchers.grammar_from_json_schema(guide.text, defaults=_JSON_OPTIONS)
            else:
                grammar = self._library.grammar_from(guide.kind, guide.text)
            matcher = matchers(self._vocabulary, grammar, log_level=0)
        except (ValueError, TypeError) as error:
            raise GrammarError(guide.field, str(error)) from error
        if matcher.is_error():
            raise GrammarError(guide.field, matcher.get_error())
        return matcher


class Constraint:
    """Where one answer stands in its form; says which tokens may follow."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def complete(self) -> bool:
        """Whether the answer has its form and nothing can follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def restrict(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a copy of logits [vocabulary] that forbids every token with which the answer would leave its form.

        Raises GrammarError where the form turned out too complex to be followed.
        """
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        self._check()
        allowed = np.zeros(len(logits), bool)
        known = min(len(bits), len(logits))
        allowed[:known] = bits[:known]
        return np.where(allowed, logits, np.float32(-np.inf))

    def take(self, token: int) -> None:
        """Go on by a token that `restrict` allowed."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """Return the tokens that must follow, as far as there is only one way to go on."""
        return list(self._matcher.compute_ff_tokens())

    def fitting(self, tokens: Sequence[int]) -> int:
        """Return how many of the first tokens the form would allow."""
        return int(self._matcher.validate_tokens(list(tokens)))

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError("grammar", self._matcher.get_error())

"""Forms of answers, compiled off the event loop."""

from __future__ import annotations

import asyncio
from functools import cached_property

from ..errors import GrammarError, GrammarUnavailable
from ..grammar import Constraint, GrammarCompiler
from ..guide import Guide
from ..openai import ApiError
from ..tokenizer import Tokenizer


class Guides:
    """Turns what requests say about the form of their answers into constraints for one model."""

    def __init__(self, tokenizer: Tokenizer, end_tokens: frozenset[int]) -> None:
        self._tokenizer, self._ends = tokenizer, end_tokens

    async def constraint(self, guide: Guide | None) -> Constraint | None:
        """Return a fresh constraint.

        Raises:
            ApiError: 400 for a form that cannot be read, naming its field; 501 where no grammar can be followed here.
        """
        if guide is None:
            return None
        try:
            return await asyncio.to_thread(lambda: self._compiler.constraint(guide))
        except GrammarError as error:
            raise ApiError(400, str(error), param=guide.field, code="invalid_value") from error
        except GrammarUnavailable as error:
            message = f"{guide.field}: {error}"
            raise ApiError(501, message, type="server_error", param=guide.field, code="grammar_unavailable") from error

    @cached_property
    def _compiler(self) -> GrammarCompiler:
        return GrammarCompiler(self._tokenizer, self._ends)

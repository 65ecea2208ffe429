"""Answers of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence

from ..openai import ChatChunk, ChatCompletion, Completion, CompletionChoice, CompletionLogprobs
from ..tokenizer import Tokenizer
from .events import Finish, Piece
from .reply import Reply, Stamp, reason_of, text_of, usage_of


class CompletionReply(Reply):
    """Text completions; log probabilities are reported where they were asked for."""

    def __init__(self, stamp: Stamp, tokenizer: Tokenizer) -> None:
        self._stamp, self._tokenizer = stamp, tokenizer
        self._offset = 0

    def opening(self) -> list[Completion | ChatChunk]:
        """Return nothing: a completion begins with its text."""
        return []

    def piece(self, piece: Piece) -> Completion | None:
        """Return the chunk for a token; None where there is nothing to show yet."""
        logprobs = self._logprobs([piece])
        if not piece.text and logprobs is None:
            return None
        return self._response([CompletionChoice(text=piece.text, logprobs=logprobs)])

    def closing(self, finish: Finish) -> Completion:
        """Return the chunk with the finish reason and the rest of the text."""
        return self._response([CompletionChoice(text=finish.text, finish_reason=reason_of(finish))])

    def usage(self, finish: Finish) -> Completion:
        """Return the chunk that carries only the usage."""
        return self._response([]).model_copy(update={"usage": usage_of(finish)})

    def whole(self, pieces: Sequence[Piece], finish: Finish) -> Completion | ChatCompletion:
        """Return the response that is not streamed."""
        text, logprobs = text_of(pieces, finish), self._logprobs(pieces)
        choice = CompletionChoice(text=text, logprobs=logprobs, finish_reason=reason_of(finish))
        return self._response([choice]).model_copy(update={"usage": usage_of(finish)})

    def _response(self, choices: list[CompletionChoice]) -> Completion:
        return Completion(id=self._stamp.id, created=self._stamp.created, model=self._stamp.model, choices=choices)

    def _logprobs(self, pieces: Sequence[Piece]) -> CompletionLogprobs | None:
        reported = [piece.logprob for piece in pieces if piece.logprob is not None]
        if not reported:
            return None
        tokens = [token_text(self._tokenizer, logprob.token) for logprob in reported]
        offsets = [self._advance(piece.text) for piece in pieces]
        tops = [{token_text(self._tokenizer, token): value for token, value in lp.top} for lp in reported]
        values = [logprob.logprob for logprob in reported]
        return CompletionLogprobs(tokens=tokens, token_logprobs=values, top_logprobs=tops, text_offset=offsets)

    def _advance(self, text: str) -> int:
        start, self._offset = self._offset, self._offset + len(text)
        return start


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Return a token as text; bytes that are no whole character show as U+FFFD."""
    return tokenizer.bytes[token].decode("utf-8", "replace")

"""Answers of /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence

from ..openai import (
    ChatChoice,
    ChatChoiceLogprobs,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessageOut,
    ChatTokenLogprob,
    Completion,
    TopLogprob,
)
from ..tokenizer import Tokenizer
from .completions import token_text
from .events import Finish, Piece
from .reply import Reply, Stamp, reason_of, text_of, usage_of


class ChatReply(Reply):
    """Chat completions; log probabilities are reported where they were asked for."""

    def __init__(self, stamp: Stamp, tokenizer: Tokenizer) -> None:
        self._stamp, self._tokenizer = stamp, tokenizer

    def opening(self) -> list[Completion | ChatChunk]:
        """Return the chunk that says who speaks."""
        return [self._chunk([ChatChunkChoice(delta=ChatDelta(role="assistant", content=""))])]

    def piece(self, piece: Piece) -> ChatChunk | None:
        """Return the chunk for a token; None where there is nothing to show yet."""
        logprobs = self._logprobs([piece])
        if not piece.text and logprobs is None:
            return None
        return self._chunk([ChatChunkChoice(delta=ChatDelta(content=piece.text), logprobs=logprobs)])

    def closing(self, finish: Finish) -> ChatChunk:
        """Return the chunk with the finish reason and the rest of the text."""
        delta = ChatDelta(content=finish.text) if finish.text else ChatDelta()
        return self._chunk([ChatChunkChoice(delta=delta, finish_reason=reason_of(finish))])

    def usage(self, finish: Finish) -> ChatChunk:
        """Return the chunk that carries only the usage."""
        return self._chunk([]).model_copy(update={"usage": usage_of(finish)})

    def whole(self, pieces: Sequence[Piece], finish: Finish) -> ChatCompletion:
        """Return the response that is not streamed."""
        message = ChatMessageOut(content=text_of(pieces, finish))
        choice = ChatChoice(message=message, logprobs=self._logprobs(pieces), finish_reason=reason_of(finish))
        stamp = self._stamp
        return ChatCompletion(
            id=stamp.id, created=stamp.created, model=stamp.model, choices=[choice], usage=usage_of(finish)
        )

    def _chunk(self, choices: list[ChatChunkChoice]) -> ChatChunk:
        return ChatChunk(id=self._stamp.id, created=self._stamp.created, model=self._stamp.model, choices=choices)

    def _logprobs(self, pieces: Sequence[Piece]) -> ChatChoiceLogprobs | None:
        reported = [piece.logprob for piece in pieces if piece.logprob is not None]
        if not reported:
            return None
        content = [
            ChatTokenLogprob(
                **self._token(logprob.token, logprob.logprob).model_dump(),
                top_logprobs=[self._token(token, value) for token, value in logprob.top],
            )
            for logprob in reported
        ]
        return ChatChoiceLogprobs(content=content)

    def _token(self, token: int, logprob: float) -> TopLogprob:
        spelled = list(self._tokenizer.bytes[token])
        return TopLogprob(token=token_text(self._tokenizer, token), logprob=logprob, bytes=spelled)

"""Log probabilities in the shapes that the API has for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .responses import ChatTokenLogprob, CompletionLogprobs, TopLogprob


class ScoredToken(Protocol):
    """A token with its log probability and the best tokens at its place, as `sampling.token_logprobs` gives it."""

    @property
    def token(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def top(self) -> Sequence[tuple[int, float]]: ...


def chat_token_logprob(scored: ScoredToken, bytes_of: Callable[[int], bytes]) -> ChatTokenLogprob:
    """Return a token's entry in a chat's log probabilities; `bytes_of` gives a token's bytes."""
    top = [_top(token, logprob, bytes_of) for token, logprob in scored.top]
    own = _top(scored.token, scored.logprob, bytes_of)
    return ChatTokenLogprob(token=own.token, logprob=own.logprob, bytes=own.bytes, top_logprobs=top)


def completion_logprobs(
    scored: Sequence[ScoredToken], bytes_of: Callable[[int], bytes], text_offset: int = 0
) -> CompletionLogprobs:
    """Return the log probabilities of a completion's tokens; offsets count characters from `text_offset` on."""
    texts = [_text(entry.token, bytes_of) for entry in scored]
    offsets = [text_offset + sum(map(len, texts[:i])) for i in range(len(texts))]
    top = [{_text(token, bytes_of): logprob for token, logprob in entry.top} for entry in scored]
    scores = [entry.logprob for entry in scored]
    return CompletionLogprobs(tokens=texts, token_logprobs=scores, top_logprobs=top, text_offset=offsets)


def _top(token: int, logprob: float, bytes_of: Callable[[int], bytes]) -> TopLogprob:
    return TopLogprob(token=_text(token, bytes_of), logprob=logprob, bytes=list(bytes_of(token)))


def _text(token: int, bytes_of: Callable[[int], bytes]) -> str:
    return bytes_of(token).decode("utf-8", errors="replace")

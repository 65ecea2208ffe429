"""What a generation reports while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..sampling import TokenLogprob

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token and the text that may be shown now (empty while a character or a stop string is incomplete).

    `active_neurons` counts, over all layers, the active neurons of the step that chose the token; where that step read
    several tokens of a prompt, their mean. An engine that does not count them leaves it out.
    """

    text: str
    token: int
    logprob: TokenLogprob | None = None
    active_neurons: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The end: `text` is what was held back; `stop` is the stop string that was met, if one was.

    Of the prompt's tokens `cached_tokens` were known from earlier requests.
    """

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    text: str = ""
    stop: str | None = None
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """The engine could not go on with this request; the others are not touched."""

    message: str


Event = Piece | Finish | Failure
Sink = Callable[[Event], None]

"""One request to the engine."""

from __future__ import annotations

from dataclasses import dataclass

from ..grammar import Constraint
from ..sampling import SamplingParameters


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and how it is continued.

    Attributes:
        prompt: token ids, at least one.
        parameters: sampling, stop strings and seed.
        max_tokens: most tokens of the answer; the context may end it earlier.
        logprobs: None for none, else how many alternatives to report beside each token.
        constraint: the form that the answer must have; it follows the answer, and so serves one request only.
        session: the name under which what was computed is kept on disk, where the engine keeps sessions.
    """

    prompt: tuple[int, ...]
    parameters: SamplingParameters
    max_tokens: int
    logprobs: int | None = None
    constraint: Constraint | None = None
    session: str | None = None

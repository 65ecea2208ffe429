"""One request while it is served."""

from __future__ import annotations

from fairlead_language_model.serving import Request, SampledSequence, Sink
from fairlead_language_model.tokenizer import Tokenizer

from .telemetry import Times


class ServedSequence(SampledSequence):
    """A request with its name in the scheduler, and its times.

    Attributes:
        name: unique.
        times: when what happened to it.
        plain: whether its next token is the most likely one, whatever came before.
    """

    def __init__(
        self,
        name: str,
        request: Request,
        tokenizer: Tokenizer,
        ends: frozenset[int],
        context: int,
        sink: Sink,
        arrived_s: float,
    ) -> None:
        super().__init__(request, tokenizer, ends, context, sink, arrived_s)
        self.name, self.times = name, Times(arrived_s, len(request.prompt))
        drawn = request.parameters
        changed = drawn.repetition_penalty != 1 or drawn.presence_penalty or drawn.frequency_penalty
        self.plain = drawn.greedy and not changed and not drawn.logit_bias and request.constraint is None

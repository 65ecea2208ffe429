"""The smallest engine that serves: the reference graph, one thread a request."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from fairlead_language_model.graph import LlamaGraph, PageTable
from fairlead_language_model.serving import (
    EngineClosed,
    Event,
    Failure,
    Finish,
    PromptTooLong,
    QueueFull,
    Request,
    SampledSequence,
)
from fairlead_language_model.tokenizer import Tokenizer


class GraphEngine:
    """Serves up to `most` requests at once; `running` are under way, `ended` what became of the others."""

    def __init__(self, graph: LlamaGraph, tokenizer: Tokenizer, context: int = 128, most: int = 2) -> None:
        self.graph, self.tokenizer, self.context, self.most = graph, tokenizer, context, most
        self.end_tokens = tokenizer.eos_token_ids
        self.vocabulary = graph.config.vocab_size
        self.accepting = True
        self.running: list[SampledSequence] = []
        self.ended: list[Finish | Failure] = []
        self._threads: list[Thread] = []

    @property
    def load(self) -> tuple[int, int]:
        return len(self.running), 0

    def submit(self, request: Request, sink: Callable[[Event], None]) -> SampledSequence:
        if len(request.prompt) >= self.context:
            raise PromptTooLong(len(request.prompt), self.context)
        if not self.accepting:
            raise EngineClosed
        if len(self.running) >= self.most:
            raise QueueFull(0)
        sequence = SampledSequence(request, self.tokenizer, self.end_tokens, self.context, sink, 0.0)
        self.running.append(sequence)
        self._threads.append(Thread(target=self._generate, args=(sequence,)))
        self._threads[-1].start()
        return sequence

    def abort(self, sequence: SampledSequence) -> None:
        sequence.aborted = True

    def drain(self) -> None:
        self.accepting = False
        for thread in self._threads:
            thread.join(30)

    def _generate(self, sequence: SampledSequence) -> None:
        pages, table = self.graph.pages(self.context), PageTable()
        try:
            logits = self.graph.prefill(sequence.tokens, pages, table)
            while not sequence.finished:
                events = [sequence.finish("abort")] if sequence.aborted else sequence.advance(logits)
                if not sequence.finished:
                    logits = self.graph.decode(sequence.tokens[-1], pages, table)
                self._tell(sequence, events)
        except Exception as error:
            sequence.finished = True
            self._tell(sequence, [Failure(str(error))])

    def _tell(self, sequence: SampledSequence, events: list[Event]) -> None:
        if sequence.finished:
            self.running.remove(sequence)
            self.ended += [event for event in events if isinstance(event, Finish | Failure)]
        for event in events:
            sequence.sink(event)

"""Clients that go away, and an engine that gives them the time to."""

from __future__ import annotations

from threading import Event
from typing import Any

from fairlead_language_model.serving import Event as EngineEvent
from fairlead_language_model.serving import Piece, Request, Sink
from tests.patience import patient

WAIT_S = patient(60.0)


class HeldUntilAborted:
    """Holds an engine up at a piece of its answer until somebody aborts it: however late a busy machine lets the event
    loop tell that the client is gone, the answer has not ended before.
    """

    def __init__(self, engine: Any, piece: int = 3) -> None:
        self._piece, self._submit, self._abort = piece, engine.submit, engine.abort
        self._reached, self._aborted = Event(), Event()
        engine.submit, engine.abort = self._held, self._let_go

    def reached(self) -> None:
        """Wait until the engine is held up."""
        assert self._reached.wait(WAIT_S), "the piece did not come"

    def _held(self, request: Request, sink: Sink) -> Any:
        pieces = 0

        def hold(event: EngineEvent) -> None:
            nonlocal pieces
            sink(event)
            pieces += isinstance(event, Piece)
            if pieces == self._piece:
                self._reached.set()
                self._aborted.wait(WAIT_S)

        return self._submit(request, hold)

    def _let_go(self, sequence: Any) -> None:
        self._abort(sequence)
        self._aborted.set()

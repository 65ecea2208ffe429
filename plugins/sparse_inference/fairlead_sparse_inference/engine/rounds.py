"""What the generation thread does with the requests that are there: rounds of turns, and what failed or was ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Condition

from fairlead_kernels import Decoder
from fairlead_language_model.serving import Event, Failure

from .scheduler import Scheduler
from .sequence import Sequence
from .sessions import SessionKeeper
from .telemetry import Telemetry
from .turn import Outcome, Turn, compute, grouped


class Rounds:
    """Gives each active sequence one token, or one piece of its prompt, in turn. Used by the generation thread.

    `changed` guards the scheduler; it is notified when sequences have ended.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        decoder: Decoder,
        telemetry: Telemetry,
        sessions: SessionKeeper,
        changed: Condition,
        clock: Callable[[], float],
        warn: Callable[..., object],
    ) -> None:
        self.decoder = decoder
        self._scheduler, self.telemetry, self.sessions = scheduler, telemetry, sessions
        self._changed, self._clock, self._warn = changed, clock, warn

    def run(self) -> None:
        """Admit what fits, give every active sequence its turn, and let go of what has ended."""
        with self._changed:
            self._drop_aborted()
            admitted = self._scheduler.admit()
            self.telemetry.cached_tokens += sum(sequence.cached_tokens for sequence in admitted)
            active = tuple(self._scheduler.active)
        for group in grouped(list(self._turns(active))):
            self._compute(group)
        with self._changed:
            ended = [sequence for sequence in active if sequence.finished]
            self._scheduler.remove(ended)
            for sequence in ended:
                self.sessions.keep(sequence.request.session, sequence.tokens)
            if not (self._scheduler.active or self._scheduler.waiting):
                self._changed.notify_all()

    def _turns(self, active: tuple[Sequence, ...]) -> Iterator[Turn]:
        for sequence in active:
            if sequence.aborted:
                self._abort(sequence)
                continue
            try:
                yield Turn.of(sequence)
            except Exception as error:
                self._fail(sequence, error)

    def _compute(self, turns: list[Turn]) -> None:
        started_s = self._clock()
        try:
            outcomes, work = compute(self.decoder, turns)
        except Exception as error:
            for turn in turns:
                self._fail(turn.sequence, error)
            return
        self.telemetry.work += work
        share_s = (self._clock() - started_s) / len(turns)
        for turn, outcome in zip(turns, outcomes, strict=True):
            try:
                self._advance(turn, outcome, share_s)
            except Exception as error:
                # One request's trouble (logits that are not numbers, a bias outside the vocabulary) is not the others'.
                self._fail(turn.sequence, error)

    def fail_all(self, error: Exception) -> None:
        """Tell everyone who waits of a fault of ours."""
        with self._changed:
            everyone = (*self._scheduler.active, *self._scheduler.waiting)
            for sequence in everyone:
                if not sequence.finished:
                    self._fail(sequence, error)
            self._scheduler.remove(everyone)
            self._changed.notify_all()

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        sequence.finished = True
        # What led to it is not kept for others.
        self._scheduler.pages.release(sequence.table)
        self.telemetry.failed += 1
        reason = f"{type(error).__name__}: {error}"
        # A medium that fails needs no trace of our own calls.
        self._warn("request failed", reason=reason, exc_info=None if isinstance(error, OSError) else error)
        sequence.sink(Failure(reason))

    def _advance(self, turn: Turn, outcome: Outcome, computed_s: float) -> None:
        started_s, sequence, draft = self._clock(), turn.sequence, turn.draft
        table, before = sequence.table, len(sequence.tokens)
        table.length += len(turn.chunk) - len(draft.tokens)
        events: list[Event] = []
        if table.length == before:
            accepted, events = sequence.verify(outcome.logits, draft, outcome.active_neurons)
            # What was computed for the other guesses is written over.
            table.length += accepted
            self.telemetry.count_answer(len(sequence.tokens) - before, len(draft.tokens), accepted)
            if not turn.answering:
                self._scheduler.cache.insert(sequence.tokens, table)
        now_s = self._clock()
        spent_s = computed_s + now_s - started_s
        if turn.decoding:
            self.telemetry.count_decode(len(sequence.tokens) - before, spent_s)
        else:
            self.telemetry.count_prefill(len(turn.chunk), spent_s)
        if not turn.answering and sequence.generated:
            self.telemetry.first_token_s.append(now_s - sequence.arrived_s)
        # Reported last, so that who has seen an answer also finds it counted.
        for event in events:
            sequence.sink(event)

    def _abort(self, sequence: Sequence) -> None:
        self.telemetry.aborted += 1
        sequence.sink(sequence.finish("abort"))

    def _drop_aborted(self) -> None:
        for sequence in [s for s in self._scheduler.waiting if s.aborted]:
            self._abort(sequence)
            self._scheduler.remove([sequence])

    def abort_all(self) -> None:
        """End every sequence."""
        with self._changed:
            for sequence in (*self._scheduler.active, *self._scheduler.waiting):
                self._abort(sequence)
                self._scheduler.remove([sequence])
            self._changed.notify_all()

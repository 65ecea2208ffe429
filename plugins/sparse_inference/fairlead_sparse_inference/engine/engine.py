"""One thread that runs the model for all requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from threading import Condition, Thread

from fairlead_bridge.device_energy import DeviceEnergySensor
from fairlead_kernels import set_threads
from fairlead_language_model.graph import KVPages, PrefixCache
from fairlead_language_model.serving import EngineClosed, PromptTooLong, Request, Sink
from fairlead_language_model.serving.jobs import Jobs, Result
from fairlead_language_model.serving.resident import resident_bytes, return_free_memory
from fairlead_language_model.tokenizer import Tokenizer

from .bundle_model import EXACT
from .energy import EnergyAccount, EnergySensor
from .memory_plan import MemoryPlan, Shares, fewest_slots
from .model import SparseModel
from .rounds import Rounds
from .scheduler import Scheduler
from .sequence import NO_DRAFTS, Sequence
from .sessions import SessionKeeper, SessionStore
from .speculation import DraftSource
from .telemetry import Telemetry
from .turn import PREFILL_CHUNK

PAGE_TOKENS = 16
#: Room for requests in flight, their text and the event loop.
HEADROOM_BYTES = 12 * 2**20


def _ignore(event: str, **values: object) -> None:
    """Where nobody listens."""


class Engine:
    """Serves requests fairly: each active sequence has one token, or one piece of its prompt, in turn.

    Sequences that decode are computed together, which changes no bit of any; weights are then read once for all.

    `submit` and `abort` may be called from any thread; sinks are called in the generation thread and must not block.
    """

    def __init__(
        self,
        model: SparseModel,
        *,
        max_sequences: int = 4,
        max_waiting: int = 32,
        context: int | None = None,
        memory_bytes: int | None = None,
        kv_bits: int = 32,
        prefix_cache: bool = True,
        drafts: DraftSource = NO_DRAFTS,
        sessions: SessionStore | None = None,
        energy: EnergySensor | None = None,
        warn: Callable[..., object] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread; `warn(event, **values)` hears of requests that failed, with the exception as `exc_info`.

        Raises:
            BudgetTooSmall: `memory_bytes` does not hold one sequence.
        """
        self.model = model
        self.context = min(context or model.config.max_position_embeddings, model.config.max_position_embeddings)
        self._drafts = drafts
        self.sessions = SessionKeeper(sessions, self._in_cache)
        self.plan = self._plan(max_sequences, kv_bits)
        self.telemetry = Telemetry(len(model.weights.layers))
        self.energy = EnergyAccount(energy or DeviceEnergySensor())
        shares = self.plan.divide(memory_bytes)
        if model.store is not None:
            model.store.resize(shares.slots)
        pages = KVPages(model.config, shares.pages, PAGE_TOKENS, bits=kv_bits)
        self._scheduler = Scheduler(
            pages, max_sequences, max_waiting, prefix_cache=prefix_cache, keep_answers=model.mode == EXACT
        )
        self._clock = clock
        self._changed = Condition()
        self._rounds = Rounds(
            self._scheduler, model.decoder(pages), self.telemetry, self.sessions, self._changed, clock, warn
        )
        self._jobs = Jobs(self._changed)
        self._draining = False
        self._thread = Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    def _plan(self, max_sequences: int, kv_bits: int) -> MemoryPlan:
        page_bytes = PAGE_TOKENS * self.model.config.kv_bytes_per_token(kv_bits)
        pages = -(-self.context // PAGE_TOKENS)
        base = resident_bytes() + HEADROOM_BYTES + self._drafts.memory_bytes
        # A session is copied while it is written.
        copied = pages * page_bytes if self.sessions.store is not None else 0
        sizes = (page_bytes, pages, pages * max_sequences)
        store = self.model.store
        if store is None:
            return MemoryPlan(base + copied, *sizes)
        # What prompts need is not touched yet.
        base += store.pass_bytes(PREFILL_CHUNK)
        total, full = store.shape.total_slots, store.shape.full_slots
        # A prompt takes some slots for its rows; the fewest are left even then.
        fewest = fewest_slots(total) + full - total
        return MemoryPlan(base + copied, *sizes, store.shape.slot_bytes, fewest, full)

    def submit(self, request: Request, sink: Sink) -> Sequence:
        """Queue a request; its events go to the sink, the last one being Finish or Failure.

        Raises:
            PromptTooLong, QueueFull, EngineClosed: nothing was queued.
        """
        if len(request.prompt) >= self.context:
            raise PromptTooLong(len(request.prompt), self.context)
        sequence = Sequence(request, self.tokenizer, self.end_tokens, self.context, sink, self._clock(), self._drafts)
        with self._changed:
            if self._draining or self._jobs.closed:
                raise EngineClosed
            self._scheduler.add(sequence)
            self.telemetry.requests += 1
            self._changed.notify_all()
        return sequence

    def abort(self, sequence: Sequence) -> None:
        """Stop a sequence at its next turn; harmless when it has ended."""
        with self._changed:
            sequence.aborted = True
            self._changed.notify_all()

    def resize(self, memory_bytes: int | None) -> None:
        """Fit pages and cached neurons into a memory budget; returns when it is done.

        Raises:
            BudgetTooSmall: the old budget stays.
        """
        shares = self.plan.divide(memory_bytes)
        self._jobs.submit(lambda: self._fit_shares(shares)).result()

    def _fit_shares(self, shares: Shares) -> None:
        store = self.model.store
        if store is not None and shares.slots < store.slots:
            store.resize(shares.slots)
        self._fit(shares.pages)
        # What grows comes last, when what shrinks has made room.
        if store is not None and shares.slots > store.slots:
            store.resize(shares.slots)

    def _fit(self, pages: int) -> None:
        if pages == self._scheduler.pages.count:
            return
        with self._changed:
            self.telemetry.preempted += self._scheduler.fit(pages)
        # The old decoder is the last reference to the old pages.
        self._rounds.decoder = self.model.decoder(self._scheduler.pages)
        return_free_memory()

    def set_threads(self, count: int) -> None:
        """Let the kernels compute on so many threads from the next turn on."""
        self._jobs.submit(lambda: set_threads(count)).result()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.model.tokenizer

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.model.end_tokens

    @property
    def vocabulary(self) -> int:
        """How many token ids the model has."""
        return self.model.config.vocab_size

    @property
    def pages(self) -> tuple[int, int]:
        """Pages that sequences use, and pages in all."""
        pages = self._scheduler.pages
        return pages.pool.used - self.cached_pages, pages.count

    @property
    def cached_pages(self) -> int:
        """Pages that no sequence uses, kept for prompts that begin alike."""
        return self._scheduler.cache.evictable

    @property
    def load(self) -> tuple[int, int]:
        """Active and waiting sequences."""
        return len(self._scheduler.active), len(self._scheduler.waiting)

    @property
    def accepting(self) -> bool:
        """Whether new requests are taken."""
        return not (self._draining or self._jobs.closed)

    def memory_in_use(self) -> int:
        """Bytes of the budget that the engine holds: all of its pages count, whether filled or not."""
        store = self.model.store
        return self.plan.bytes_for(self._scheduler.pages.count, 0 if store is None else store.slots)

    def marginal_cost(self) -> float:
        """Share of the throughput that the next MiB is worth now."""
        used, count = self.pages
        return self.plan.marginal_cost(count, used, self.load[0])

    def drain(self, timeout_s: float | None = None) -> bool:
        """Take no new request, and wait for those under way; false when time ran out."""
        with self._changed:
            self._draining = True
            if not self._changed.wait_for(self._idle, timeout_s):
                return False
        return self.sessions.flush(timeout_s)

    def close(self) -> None:
        """Write the sessions that ended, abort everything and end the thread."""
        with self._changed:
            self._draining = True
        with contextlib.suppress(EngineClosed):
            # Whoever has an answer may close at once: the turn that gave it is still to hand its session over.
            self._jobs.submit(lambda: None).result()
        self.sessions.close()
        with self._changed:
            self._jobs.closed = True
            self._changed.notify_all()
        self._thread.join()
        # The native decoder goes before the interpreter does.
        self._rounds.__dict__.pop("decoder", None)

    def _idle(self) -> bool:
        return not (self._scheduler.active or self._scheduler.waiting or self._jobs)

    def _in_cache(self, job: Callable[[PrefixCache], Result]) -> Result:
        return self._jobs.submit(lambda: job(self._scheduler.cache)).result()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs.closed or not self._idle())
                jobs, closing = self._jobs.take(), self._jobs.closed
            for job in jobs:
                job()
            if closing:
                break
            try:
                self.energy.begin(self.telemetry, self._clock())
                self._rounds.run()
                self.energy.end(self.telemetry, self._clock(), idle=not any(self.load))
            except Exception as error:
                # A fault of ours: whoever waits is told, and the next requests are served.
                self._rounds.fail_all(error)
        self._rounds.abort_all()

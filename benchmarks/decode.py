"""How fast the shipped model decodes, against transformers. Run: ``python -m benchmarks.decode``.

Both answer the same prompt greedily with the same weights, one after the other in turn: ours by the engine as a worker
runs it (Q8 weights, rows of zero skipped, sampling and text included), the peer with transformers and PyTorch on the
same number of threads in float32 with its KV cache. The time counts from the first new token to the last.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, row
from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.engine import Engine, Failure, Finish, Piece, Request, SparseModel
from fairlead_sparse_inference.engine import Event as EngineEvent
from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS

if TYPE_CHECKING:
    from benchmarks.transformers_peer import TransformersPeer

PROMPT = "It was a dark and stormy night, and the old man who kept the lighthouse had not come home. His daughter"
THREADS = (1, 2)
TOKENS, QUICK_TOKENS = 200, 40
#: An answer ends at these; a model that will not be stopped by them decodes as long as it is asked to.
NO_END = -1e9
WAIT_S = 120.0


class Timed:
    """A sink that notes when each token came."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.at: list[float] = []
        self.failure = ""
        self.done = Event()

    def __call__(self, event: EngineEvent) -> None:
        """Take an event of the engine."""
        if isinstance(event, Piece):
            self.at.append(time.perf_counter())
            self.tokens.append(event.token)
        if isinstance(event, Finish | Failure):
            self.failure = event.message if isinstance(event, Failure) else ""
            self.done.set()


class Ours:
    """The engine over the shipped model."""

    def __init__(self) -> None:
        self.model = SparseModel.load(MODELS / DEFAULT_MODEL)
        self._engine = Engine(self.model)
        self._bias = dict.fromkeys(sorted(self.model.end_tokens), NO_END)

    def greedy(self, prompt: list[int], count: int, threads: int) -> tuple[list[int], float]:
        """``count`` tokens after a prompt, and tokens per second from the first to the last of them.

        Raises:
            RuntimeError: the engine failed, or took too long.
        """
        self._engine.set_threads(threads)
        heard = Timed()
        parameters = SamplingParameters(temperature=0, logit_bias=self._bias)
        self._engine.submit(Request(tuple(prompt), parameters, count), heard)
        if not heard.done.wait(WAIT_S) or heard.failure or len(heard.tokens) < count:
            raise RuntimeError(f"{len(heard.tokens)} of {count} tokens; {heard.failure or 'no failure'}")
        return heard.tokens, (count - 1) / (heard.at[-1] - heard.at[0])

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


def same(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens agree before the first that does not."""
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((index for index, (one, other) in pairs if one != other), len(ours))


def rows(ours: Ours, peer: TransformersPeer | None, threads: int, options: Options) -> Iterator[Row]:
    """Speed and agreement on so many threads."""
    count = QUICK_TOKENS if options.quick else TOKENS
    prompt = ours.model.tokenizer.encode(PROMPT)
    case = f"{DEFAULT_MODEL}, batch 1, {threads} thread{'s' if threads > 1 else ''}, {len(prompt)} + {count} tokens"
    mine: list[float] = []
    theirs: list[float] = []
    agreed = count
    for repeat in range(options.repeats + 1):
        tokens, speed = ours.greedy(prompt, count, threads)
        other, other_speed = peer.greedy(prompt, count, threads) if peer else (tokens, 0.0)
        agreed = min(agreed, same(tokens, other))
        if repeat:  # the first warms up
            mine.append(speed)
            theirs.append(other_speed)
    yield row(case, "decode", "tokens/s", mine, theirs if peer else None, better="more", target=1.0)
    if peer:
        yield row(case, "greedy tokens equal to the peer's before the first that differs", "tokens", [agreed],
                  better="more", limit=count)  # fmt: skip


def load_peer(barred: Iterable[int]) -> TransformersPeer | None:
    """The peer, where transformers and PyTorch are installed."""
    try:
        from benchmarks.transformers_peer import TransformersPeer
    except ImportError as error:
        print(f"skipped: no peer ({error})")
        return None
    return TransformersPeer(MODELS / DEFAULT_MODEL, barred)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/decode.json."""
    import fairlead_kernels

    options = parse("decode", __doc__, repeats=9, quick=2, arguments=arguments)
    ours = Ours()
    peer = load_peer(ours.model.end_tokens)
    measured = [item for threads in THREADS for item in rows(ours, peer, threads, options)]
    backend = fairlead_kernels.backend()
    conditions = {
        "kernels": f"{backend.name}:{backend.isa}",
        "peer": "transformers LlamaForCausalLM with dReLU layers, PyTorch CPU float32, the same dequantized weights",
        "peer_loop": "forward with past_key_values and argmax (less overhead than generate)",
        "end_tokens": "both are kept from taking them, so that both decode as long as they are asked to",
    }
    ours.close()
    options.finish(conditions, measured)


if __name__ == "__main__":
    main()

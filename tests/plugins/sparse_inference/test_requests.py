"""What requests may count on whoever else is served: ends, seeds, stop strings, biases, the context."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.engine import Engine, Request, SparseModel
from fairlead_sparse_inference.engine import Event as EngineEvent
from fairlead_sparse_inference.engine.sequence import Sequence
from fairlead_sparse_inference.engine.speculation import NgramSource

from .conftest import SHAPE, WAIT_S, Collected, greedy, run

MakeEngine = Callable[..., Engine]
NO_END = {1: -1e9, 4: -1e9}


def prompt_of(tokens: int, seed: int = 0) -> list[int]:
    return [0, *(int(token) for token in np.random.default_rng(seed).integers(5, 300, tokens - 1))]


def test_an_abort_during_a_prompt_ends_it_before_its_first_token(make_engine: MakeEngine) -> None:
    """A request that generates meanwhile sees to it that the abort comes after the prompt's first piece."""
    engine, other, long = make_engine(), Collected(), Collected()
    begun: list[Sequence] = []
    prompt = prompt_of(120)

    def take(event: EngineEvent) -> None:
        if not begun:
            begun.append(engine.submit(greedy(prompt, 8), long))
        elif engine.telemetry.prompt_tokens > 2:
            engine.abort(begun[0])
        other(event)

    engine.submit(greedy([0, 9], 20, logit_bias=NO_END), take)
    finish = long.wait().finish
    assert finish is not None and (finish.reason, finish.completion_tokens, long.pieces) == ("abort", 0, [])
    assert other.wait().tokens == run(make_engine(), greedy([0, 9], 20, logit_bias=NO_END)).tokens
    assert engine.drain(WAIT_S)
    assert 2 < engine.telemetry.prompt_tokens < 2 + len(prompt)
    assert engine.pages[0] == 0


def test_the_rest_of_an_aborted_prompt_is_computed_by_the_next_that_has_it(make_engine: MakeEngine) -> None:
    engine, other, long = make_engine(), Collected(), Collected()
    begun: list[Sequence] = []

    def take(event: EngineEvent) -> None:
        if not begun:
            begun.append(engine.submit(greedy(prompt_of(120), 8), long))
        elif engine.telemetry.prompt_tokens > 2:
            engine.abort(begun[0])
        other(event)

    engine.submit(greedy([0, 9], 20, logit_bias=NO_END), take)
    long.wait(), other.wait()
    assert run(engine, greedy(prompt_of(120), 7)).tokens == run(make_engine(), greedy(prompt_of(120), 7)).tokens
    assert engine.drain(WAIT_S)
    assert engine.telemetry.cached_tokens >= 64


@pytest.mark.parametrize("guessing", [False, True])
def test_a_seeded_answer_is_the_same_alone_and_among_others(make_engine: MakeEngine, guessing: bool) -> None:
    options = {"drafts": NgramSource(4, shortest=1)} if guessing else {}
    engine = make_engine(max_sequences=4, **options)

    def seeded(seed: int) -> Request:
        parameters = SamplingParameters(temperature=1.2, top_p=0.95, seed=seed, logit_bias=NO_END)
        return Request(tuple(prompt_of(5 + seed, seed)), parameters, 40)

    alone = [run(engine, seeded(seed)).tokens for seed in range(8)]
    sinks = [Collected() for _ in alone]
    for seed in reversed(range(8)):
        engine.submit(seeded(seed), sinks[seed])
    assert [sink.wait().tokens for sink in sinks] == alone
    assert len({tuple(tokens) for tokens in alone}) == 8


@pytest.mark.parametrize("guessing", [False, True])
def test_a_stop_string_is_found_wherever_tokens_cut_it(
    make_engine: MakeEngine, model: SparseModel, guessing: bool
) -> None:
    """Stop strings from the middle of one token to the middle of another; what is shown ends before them."""
    engine = make_engine(**({"drafts": NgramSource(4, shortest=1)} if guessing else {}))
    whole = run(engine, greedy([0, 77], 40, logit_bias=NO_END))
    ends = np.cumsum([len(piece.text) for piece in whole.pieces])
    cuts = [int(end) for end in ends[3:-3] if 2 < end < len(whole.text) - 2][:12]
    assert cuts
    for cut in cuts:
        stop = whole.text[cut - 2 : cut + 2]
        stopped = run(engine, greedy([0, 77], 40, logit_bias=NO_END, stop=(stop,)))
        assert stopped.text == whole.text[: whole.text.index(stop)]
        assert stopped.finish is not None and stopped.finish.stop == stop
        assert stop not in "".join(piece.text for piece in stopped.pieces)


def test_a_bias_forbids_or_forces_a_token(make_engine: MakeEngine) -> None:
    engine = make_engine()
    free = run(engine, greedy([0, 42], 30, logit_bias=NO_END)).tokens
    banned = dict.fromkeys(set(free), -1000000000.0) | NO_END
    assert not set(run(engine, greedy([0, 42], 30, logit_bias=banned)).tokens) & set(free)
    assert set(run(engine, greedy([0, 42], 30, logit_bias={33: 1e9})).tokens) == {33}


@pytest.mark.parametrize("prompt_tokens", [SHAPE.context - 1, SHAPE.context - 2])
def test_a_prompt_that_nearly_fills_the_context_gets_what_is_left(make_engine: MakeEngine, prompt_tokens: int) -> None:
    engine = make_engine(drafts=NgramSource(4, shortest=1))
    answer = run(engine, greedy(prompt_of(prompt_tokens), 50, logit_bias=NO_END))
    assert answer.finish is not None
    assert (answer.finish.reason, len(answer.tokens)) == ("length", SHAPE.context - prompt_tokens)

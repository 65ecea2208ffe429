"""What the engine promises: the model's own text, whatever is beside it, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import numpy as np
import pytest

from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.engine.served_model import ServedModel
from fairlead_language_model.serving import BudgetTooSmall, EngineClosed, Failure, PromptTooLong, QueueFull
from tests.plugins.elastic_serving.engine.conftest import MakeEngine, open_model
from tests.plugins.elastic_serving.engine.serving import WAIT_S, Collected, Held, request, run
from tests.plugins.elastic_serving.random_models import FAMILIES, RandomModel, some_tokens

UNLIKE = [(some_tokens(length, seed), answer) for seed, (length, answer) in enumerate([(3, 30), (61, 9), (24, 20)])]


def stopped(tokens: list[int]) -> list[int]:
    """A greedy answer up to the token that ends it."""
    return tokens[: tokens.index(96)] if 96 in tokens else tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    theirs = RandomModel(family, tmp_path)
    engine = Engine(open_model(tmp_path, 400), check=True)
    answers = run(engine, *(request(prompt, tokens) for prompt, tokens in UNLIKE))
    assert [answer.tokens for answer in answers] == [stopped(theirs.greedy(*one)) for one in UNLIKE]
    engine.close()


@pytest.mark.parametrize(("host_pages", "kv_pages"), [(0, 66), (200, 66), (30, 60)])
def test_preempted_requests_go_on_as_if_nothing_had_been(
    make_engine: MakeEngine, llama: RandomModel, host_pages: int, kv_pages: int
) -> None:
    some = [(some_tokens(20 + 3 * seed, seed), 30) for seed in range(4)]
    engine = make_engine(kv_pages, host_bytes=host_pages * 1024, context=100)
    answers = run(engine, *(request(*one) for one in some))
    assert [answer.tokens for answer in answers] == [stopped(llama.greedy(*one)) for one in some]
    assert engine.loop.scheduler.preemptions > 0


def test_logprobs_are_the_references(make_engine: MakeEngine, llama: RandomModel) -> None:
    prompt = some_tokens(30)
    (answer,) = run(make_engine(), request(prompt, 6, logprobs=3))
    logits = llama.logits(prompt + answer.tokens)[len(prompt) - 1 : -1].astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    for piece, row in zip(answer.pieces, logprobs, strict=True):
        best = np.argsort(-row)[:3]
        assert piece.logprob is not None
        assert piece.logprob.logprob == pytest.approx(row[piece.token], abs=1e-3)
        assert [token for token, _ in piece.logprob.top] == best.tolist()
        np.testing.assert_allclose([value for _, value in piece.logprob.top], row[best], atol=1e-3)


def test_a_seed_gives_the_same_answer_beside_others(make_engine: MakeEngine) -> None:
    drawn = request(some_tokens(12), 20, temperature=1.5, top_p=0.9, seed=7)
    engine = make_engine(prefix_cache=False)
    (alone,) = run(engine, drawn)
    beside = run(engine, *(request(*one) for one in UNLIKE), drawn)[-1]
    other = run(engine, request(some_tokens(12), 20, temperature=1.5, top_p=0.9, seed=8))[0]
    assert alone.tokens == beside.tokens != other.tokens


def test_a_stop_string_ends_the_text_before_it(make_engine: MakeEngine) -> None:
    engine = make_engine()
    (whole,) = run(engine, request(some_tokens(9), 20))
    stop = whole.text[7:10]
    (cut,) = run(engine, request(some_tokens(9), 20, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.end.stop == stop
    assert (cut.end.reason, whole.end.reason) == ("stop", "length")


def test_an_answer_ends_at_the_context(make_engine: MakeEngine) -> None:
    engine = make_engine(context=40)
    (answer,) = run(engine, request(some_tokens(35), 100))
    assert answer.end.reason in ("length", "stop") and answer.end.completion_tokens <= 5
    with pytest.raises(PromptTooLong, match="40 tokens; accepted: at most 39"):
        engine.submit(request(some_tokens(40), 1), Collected())


def test_a_request_that_memory_could_never_hold_is_refused(make_engine: MakeEngine) -> None:
    # Two pages a row: 28 tokens and one that is not stored.
    engine = make_engine(12)
    with pytest.raises(PromptTooLong, match="30 tokens; accepted: at most 28"):
        engine.submit(request(some_tokens(30), 1), Collected())
    (answer,) = run(engine, request(some_tokens(20), 100))
    assert len(answer.tokens) + 20 <= 29


@pytest.mark.parametrize("after", [0, 1, 3])
def test_aborted_requests_leave_nothing(make_engine: MakeEngine, after: int) -> None:
    engine, aborted = make_engine(60, sequences=2), Event()
    first = Held(after)
    sinks = [first, *(Collected() for _ in range(4))]
    if not after:
        # All of them wait when they are aborted.
        engine.between_steps(lambda: aborted.wait(WAIT_S))
    sent = [engine.submit(request(some_tokens(40, seed), 80), sink) for seed, sink in enumerate(sinks)]
    if after:
        first.reached()
    for sequence in sent:
        engine.abort(sequence)
        engine.abort(sequence)
    aborted.set()
    first.let_go()
    assert all(sink.wait().events[-1].reason in ("abort", "stop") for sink in sinks)
    assert engine.drain(WAIT_S)


def test_a_failure_is_one_requests_own(make_engine: MakeEngine, llama: RandomModel) -> None:
    bad, good = run(make_engine(), request(some_tokens(9), 5, logit_bias={1000: 1.0}), request(some_tokens(12), 5))
    assert isinstance(bad.events[-1], Failure) and "token 1000" in bad.events[-1].message
    assert good.tokens == stopped(llama.greedy(some_tokens(12), 5))


def test_a_full_queue_and_a_closed_engine_refuse(make_engine: MakeEngine) -> None:
    engine = make_engine(sequences=1, waiting=2)
    sinks = [Collected() for _ in range(2)]
    job = engine.between_steps(lambda: sinks[0].done.wait(WAIT_S))
    for sink in sinks:
        engine.submit(request(some_tokens(5), 2), sink)
    with pytest.raises(QueueFull):
        engine.submit(request(some_tokens(5), 2), Collected())
    sinks[0].done.set()
    job.result()
    assert engine.drain(WAIT_S)
    with pytest.raises(EngineClosed):
        engine.submit(request(some_tokens(5), 2), Collected())


def test_telemetry_counts_what_was_done(make_engine: MakeEngine) -> None:
    engine = make_engine()
    answers = run(engine, *(request(*one) for one in UNLIKE))
    assert engine.drain(WAIT_S)
    told = engine.telemetry
    assert told.generation_tokens == sum(answer.end.completion_tokens for answer in answers)
    assert told.prompt_tokens == sum(len(prompt) for prompt, _ in UNLIKE)
    assert told.first_token_s.count == told.request_s.count == 3 == sum(told.finished.values())
    assert told.between_tokens_s.count == told.generation_tokens - 3
    assert sum(chunk.tokens for chunks, _ in told.steps for chunk in chunks) == told.computed_tokens


def test_a_budget_that_holds_no_sequence_is_refused(llama: RandomModel) -> None:
    with pytest.raises(BudgetTooSmall, match="memory of 1000 bytes: accepted: at least"):
        ServedModel.open(llama.directory, 1000)

"""What the engine promises: exact output, fairness, clean ends, and a memory budget that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from fairlead_kernels.work import COMPUTED
from fairlead_language_model.graph import KVPages, LlamaGraph, PageTable
from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.engine import (
    BudgetTooSmall,
    Engine,
    EngineClosed,
    Piece,
    PromptTooLong,
    QueueFull,
    Request,
    SparseModel,
)
from fairlead_sparse_inference.engine.sequence import Sequence
from fairlead_sparse_inference.engine.speculation import NgramSource

from .conftest import SHAPE, WAIT_S, Collected, Held, greedy, run

MakeEngine = Callable[..., Engine]


def dense_logits(checkpoint: Path, tokens: list[int]) -> np.ndarray:
    """Logits after each token from the reference graph, which multiplies every neuron."""
    graph = LlamaGraph.load(checkpoint)
    return graph.forward(tokens, graph.pages(len(tokens)), PageTable())


def test_sparse_logits_equal_dense_ones(model: SparseModel, checkpoint: Path) -> None:
    tokens = [0, 17, 250, 33, 120, 9, 77, 31]
    pages = KVPages(model.config, 4, 16)
    table = PageTable()
    pages.reserve(table, len(tokens))
    decoder = model.decoder(pages)
    steps = [decoder.step(token, i, table.array()) for i, token in enumerate(tokens)]
    expected = dense_logits(checkpoint, tokens)
    np.testing.assert_allclose([step.logits for step in steps], expected, rtol=1e-3, atol=1e-3)
    assert all((step.active < SHAPE.neurons).all() and (step.active > 0).all() for step in steps)


def test_greedy_answer_equals_the_torch_model(make_engine: MakeEngine, checkpoint: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from fairlead_sparse_inference.train.export import load_exported

    reference = load_exported(checkpoint)
    prompt = [0, 42, 99, 200]
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(24):
            tokens.append(int(reference(torch.tensor([tokens]))[0, -1].argmax()))
            if tokens[-1] in (1, 4):
                break
    answer = run(make_engine(), greedy(prompt, 24))
    expected = [token for token in tokens[len(prompt) :] if token not in (1, 4)]
    assert answer.tokens == expected


def test_a_long_prompt_in_pieces_gives_the_same_answer_as_token_by_token(
    make_engine: MakeEngine, model: SparseModel
) -> None:
    prompt = [0, *(int(t) for t in np.random.default_rng(3).integers(5, 300, 100))]
    pages = KVPages(model.config, 8, 16)
    table = PageTable()
    pages.reserve(table, 128)
    decoder = model.decoder(pages)
    logits = [decoder.step(token, i, table.array()).logits for i, token in enumerate(prompt)][-1]
    assert run(make_engine(), greedy(prompt, 1)).tokens == [int(logits.argmax())]


def test_seeded_sampling_repeats_and_differs_by_seed(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def draw(seed: int) -> list[int]:
        parameters = SamplingParameters(temperature=1.5, seed=seed)
        return run(engine, Request((0, 8), parameters, 24)).tokens

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_neurons_are_counted_by_token(make_engine: MakeEngine) -> None:
    engine = make_engine()
    answer = run(engine, greedy([0, 5, 6], 8))
    assert all(0 < piece.active_neurons < SHAPE.layers * SHAPE.neurons for piece in answer.pieces)
    # The last token is never computed: nothing comes after it.
    computed = 3 + len(answer.pieces) - 1
    assert (engine.telemetry.work[:, COMPUTED] == computed * SHAPE.neurons).all()
    assert all(0 < share < 1 for share in engine.telemetry.active_share())


def test_requests_have_tokens_in_turn(make_engine: MakeEngine) -> None:
    engine, order = make_engine(), []
    gate, sinks = Event(), [Collected() for _ in range(3)]

    def sink(number: int) -> Callable[[object], None]:
        def take(event: object) -> None:
            gate.wait(WAIT_S)
            order.append(number)
            sinks[number](event)  # pyright: ignore[reportArgumentType]

        return take

    for number in range(3):
        engine.submit(Request((0, 30 + number), SamplingParameters(temperature=1, seed=5), 12), sink(number))
    gate.set()
    for collected in sinks:
        collected.wait()
    counts = [order[:18].count(number) for number in range(3)]
    # All three were queued before the first token was let through, so nobody is more than one turn ahead.
    assert max(counts) - min(counts) <= 2, order


def test_an_aborted_request_frees_its_pages_and_leaves_the_others(make_engine: MakeEngine) -> None:
    engine, first, second = make_engine(), Held(), Collected()
    parameters = SamplingParameters(temperature=1, seed=1, logit_bias={1: -1e9, 4: -1e9})
    sequence = engine.submit(Request((0, 1), parameters, 120), first)
    first.reached()
    engine.abort(sequence)
    engine.submit(greedy([0, 9], 5), second)
    first.let_go()
    assert first.wait().finish is not None
    assert second.wait().finish is not None
    assert engine.drain(WAIT_S)
    assert engine.pages[0] == 0
    assert first.finish is not None and first.finish.reason == "abort"


def test_what_breaks_one_request_does_not_break_the_next(make_engine: MakeEngine) -> None:
    warnings: list[tuple[str, dict[str, object]]] = []
    engine = make_engine(warn=lambda event, **values: warnings.append((event, values)))
    broken = run(engine, Request((0, 2), SamplingParameters(logit_bias={5: float("nan")}), 5))
    assert broken.failure is not None and "NaN" in broken.failure.message
    ((event, values),) = warnings
    assert event == "request failed" and values["reason"] == broken.failure.message
    assert isinstance(values["exc_info"], ValueError)
    assert run(engine, greedy([0, 2], 5)).finish is not None
    assert engine.telemetry.failed == 1


def test_a_fault_of_the_engine_ends_its_requests_and_not_its_thread(make_engine: MakeEngine) -> None:
    engine, going = make_engine(), Held()
    scheduler = engine._scheduler
    admit = scheduler.admit

    def fault() -> list[Sequence]:
        scheduler.admit = admit
        raise RuntimeError("a fault")

    engine.submit(greedy([0, 2], 120, logit_bias={1: -1e9, 4: -1e9}), going)
    going.reached()
    scheduler.admit = fault
    going.let_go()
    failure = going.wait().failure
    assert failure is not None and failure.message == "RuntimeError: a fault"
    assert run(engine, greedy([0, 2], 5)).finish is not None
    assert engine.drain(WAIT_S) and engine.load == (0, 0) and engine.pages[0] == 0


def test_a_prompt_beyond_the_context_is_refused(make_engine: MakeEngine) -> None:
    with pytest.raises(PromptTooLong, match="128 tokens; accepted: at most 127"):
        make_engine().submit(greedy([0] * 128), Collected())


def test_the_answer_ends_where_the_context_does(make_engine: MakeEngine) -> None:
    parameters = SamplingParameters(temperature=1, seed=2, logit_bias={1: -1e9, 4: -1e9})
    answer = run(make_engine(), Request(tuple([0] * 120), parameters, 1000))
    assert answer.finish is not None
    assert (answer.finish.reason, answer.finish.completion_tokens) == ("length", 8)


def test_a_full_queue_refuses(make_engine: MakeEngine) -> None:
    engine = make_engine(max_sequences=1, max_waiting=1)
    hold, sinks = Event(), [Collected(), Collected()]

    def slow(event: object) -> None:
        hold.wait(WAIT_S)
        sinks[0](event)  # pyright: ignore[reportArgumentType]

    engine.submit(greedy([0, 3], 4), slow)
    while engine.load[0] == 0:
        hold.wait(0.01)
    engine.submit(greedy([0, 4], 4), sinks[1])
    with pytest.raises(QueueFull, match="1 requests are waiting"):
        engine.submit(greedy([0, 5], 4), Collected())
    hold.set()
    sinks[0].wait(), sinks[1].wait()


def test_shrinking_keeps_the_answers(make_engine: MakeEngine) -> None:
    """Sequences that no longer fit wait, are computed again, and answer as if nothing had happened."""
    roomy = make_engine(max_sequences=3)
    expected = [run(roomy, greedy([0, 50 + i], 60)).tokens for i in range(3)]
    engine, sinks, hold = make_engine(max_sequences=3), [Collected() for _ in range(3)], Event()

    def slow(event: object) -> None:
        hold.wait(0.002)
        sinks[0](event)  # pyright: ignore[reportArgumentType]

    for i, sink in enumerate((slow, *sinks[1:])):
        engine.submit(greedy([0, 50 + i], 126), sink)
    engine.resize(engine.plan.minimum_bytes)
    assert engine.pages[1] == engine.plan.sequence_pages
    assert engine.memory_in_use() == engine.plan.minimum_bytes
    hold.set()
    for sink, tokens in zip(sinks, expected, strict=True):
        got = sink.wait().tokens
        assert got[: len(tokens)] == tokens
    engine.resize(None)
    assert engine.pages[1] == engine.plan.max_pages


def test_a_budget_below_the_minimum_is_refused_and_the_old_one_stays(make_engine: MakeEngine) -> None:
    engine = make_engine()
    before = engine.pages[1]
    with pytest.raises(BudgetTooSmall, match="accepted: at least"):
        engine.resize(engine.plan.minimum_bytes - 1)
    assert engine.pages[1] == before
    assert run(engine, greedy([0, 2], 3)).finish is not None


def test_a_drained_engine_finishes_and_takes_nothing_new(make_engine: MakeEngine) -> None:
    engine, answer = make_engine(), Collected()
    engine.submit(greedy([0, 2], 20), answer)
    assert engine.drain(WAIT_S)
    assert answer.done.is_set()
    with pytest.raises(EngineClosed):
        engine.submit(greedy([0, 2]), Collected())


def test_closing_ends_what_is_under_way(make_engine: MakeEngine) -> None:
    engine, answers = make_engine(max_sequences=1), [Collected() for _ in range(3)]
    parameters = SamplingParameters(temperature=1, seed=2, logit_bias={1: -1e9, 4: -1e9})
    for answer in answers:
        engine.submit(Request((0, 4), parameters, 120), answer)
    engine.close()
    assert all(answer.wait().finish is not None for answer in answers)


def test_stop_strings_end_the_text_before_them(make_engine: MakeEngine) -> None:
    engine = make_engine()
    whole = run(engine, greedy([0, 77], 30)).text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 2]
    stopped = run(engine, greedy([0, 77], 30, stop=(stop,)))
    assert stopped.text == whole[: whole.index(stop)]
    assert stopped.finish is not None and (stopped.finish.reason, stopped.finish.stop) == ("stop", stop)


def test_logprobs_name_the_chosen_token_first_when_greedy(make_engine: MakeEngine) -> None:
    request = Request((0, 61), SamplingParameters(temperature=0), 5, logprobs=3)
    for piece in run(make_engine(), request).pieces:
        assert piece.logprob is not None
        assert piece.logprob.top[0] == (piece.token, piece.logprob.logprob)
        assert len(piece.logprob.top) == 3


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_each_request_ends_once_and_no_page_is_lost(make_engine: MakeEngine, seed: int) -> None:
    """Requests, aborts, shrinks, growth and broken requests at random; greedy answers stay what they are alone."""
    random = np.random.default_rng(seed)
    options = {"drafts": NgramSource(4, shortest=1)} if seed % 2 else {}
    engine = make_engine(max_sequences=3, max_waiting=64, **options)
    alone = {first: run(engine, greedy([0, first], 40)).tokens for first in range(20, 26)}
    ends: list[int] = [0] * 30
    sinks = [Collected() for _ in ends]

    def sink(number: int) -> Callable[[object], None]:
        def take(event: object) -> None:
            ends[number] += not isinstance(event, Piece)
            sinks[number](event)  # pyright: ignore[reportArgumentType]

        return take

    sequences = []
    for number in range(len(ends)):
        request = greedy([0, 20 + number % 6], 40)
        if number % 7 == 6:
            request = Request((0, 3), SamplingParameters(logit_bias={5: float("nan")}), 5)
        sequences.append(engine.submit(request, sink(number)))
        if random.random() < 0.3:
            engine.abort(sequences[int(random.integers(len(sequences)))])
        if random.random() < 0.3:
            spare = int(random.integers(0, 3)) * engine.plan.sequence_pages * engine.plan.page_bytes
            engine.resize(engine.plan.minimum_bytes + spare)
    for collected in sinks:
        collected.wait()
    assert engine.drain(WAIT_S)
    assert ends == [1] * len(ends)
    assert engine.pages[0] == 0
    scheduler = engine._scheduler
    scheduler.pages.check((), scheduler.cache.held)
    for number, collected in enumerate(sinks):
        expected = alone[20 + number % 6]
        if collected.finish is not None and collected.finish.reason != "abort":
            assert collected.tokens == expected
        elif collected.failure is None:
            assert collected.tokens == expected[: len(collected.tokens)]


def test_a_prompt_that_begins_like_another_is_computed_from_where_they_part(make_engine: MakeEngine) -> None:
    prompt = [0, *(int(t) for t in np.random.default_rng(11).integers(5, 300, 60))]
    engine, plain = make_engine(), make_engine(prefix_cache=False)
    first, again, longer = greedy(prompt, 8), greedy(prompt, 8), greedy([*prompt, 77, 5], 8)
    answers = [run(engine, request) for request in (first, again, longer)]
    assert [run(plain, request).tokens for request in (first, again, longer)] == [a.tokens for a in answers]
    assert engine.drain(WAIT_S) and plain.drain(WAIT_S)
    # Of the second prompt one token is computed, of the third what the others did not hold.
    assert engine.telemetry.prompt_tokens == 61 + 1 + 2
    assert engine.telemetry.cached_tokens == 60 + 61
    assert (plain.telemetry.cached_tokens, plain.telemetry.prompt_tokens) == (0, 61 + 61 + 63)
    assert engine.pages[0] == 0 < engine.cached_pages
    assert plain.cached_pages == 0

"""Guessing ahead changes how fast an answer comes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_kernels import MOST_SEQUENCES
from fairlead_language_model.sampling import SamplingParameters, distribution, make_generator, sample
from fairlead_sparse_inference.engine import Engine, ModelUnsupported, Request, SparseModel
from fairlead_sparse_inference.engine.speculation import DraftModel, DraftSource, GuessLength, NgramSource, accept
from fairlead_sparse_inference.engine.speculation.ngram import NgramDrafter
from fairlead_sparse_inference.settings import MOST_GUESSES
from fairlead_sparse_inference.train.layout import write_checkpoint
from fairlead_sparse_inference.train.shape import ModelShape
from fairlead_sparse_inference.train.tokenizer import train_tokenizer

from .conftest import SHAPE, TEXT, WAIT_S, Collected, greedy, random_weights, run

MakeEngine = Callable[..., Engine]
SAMPLED = SamplingParameters(temperature=1.0, top_k=5)


def write_model(folder: Path, vocabulary: int, seed: int) -> SparseModel:
    """Write a model smaller than the tiny one, and load it."""
    shape = ModelShape(vocabulary=vocabulary, width=32, layers=1, heads=2, kv_heads=1, neurons=32, context=128)
    write_checkpoint(folder, shape, random_weights(shape, seed), train_tokenizer([TEXT], vocabulary))
    return SparseModel.load(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SparseModel:
    return write_model(tmp_path_factory.mktemp("draft"), SHAPE.vocabulary, 3)


@pytest.fixture(params=["ngram", "small", "itself"])
def drafts(request: pytest.FixtureRequest, small: SparseModel, model: SparseModel) -> DraftSource:
    """Guesses that are often wrong, nearly always wrong, and nearly always right."""
    if request.param == "ngram":
        return NgramSource(4, shortest=1)
    return DraftModel(small if request.param == "small" else model, 4, sequences=4, context=128)


def test_one_call_checks_all_guesses_that_may_be_asked_for() -> None:
    assert MOST_GUESSES + 1 == MOST_SEQUENCES


def test_greedy_answers_are_the_same(make_engine: MakeEngine, drafts: DraftSource) -> None:
    plain, guessing = make_engine(), make_engine(drafts=drafts)
    prompts = [[0, *(int(t) for t in np.random.default_rng(i).integers(5, 300, 2 + 7 * i))] for i in range(5)]
    expected = [run(plain, greedy(prompt, 60)) for prompt in prompts]
    found = [Collected() for _ in prompts]
    for prompt, sink in zip(prompts, found, strict=True):
        guessing.submit(greedy(prompt, 60), sink)
    for one, other in zip(expected, found, strict=True):
        other.wait()
        assert (other.tokens, other.text) == (one.tokens, one.text)
        assert other.finish is not None and one.finish is not None and other.finish.reason == one.finish.reason
    assert guessing.drain(WAIT_S)
    told = guessing.telemetry
    assert told.drafted >= told.accepted
    assert told.completion_tokens == plain.telemetry.completion_tokens
    assert guessing.pages[0] == 0


def test_a_draft_that_is_right_saves_calls(make_engine: MakeEngine, model: SparseModel) -> None:
    engine = make_engine(drafts=DraftModel(model, 4, sequences=4, context=128))
    run(engine, greedy([0, 42, 99], 40, logit_bias={1: -1e9, 4: -1e9}))
    assert engine.drain(WAIT_S)
    assert engine.telemetry.accepted > 0.7 * engine.telemetry.drafted > 0


def test_a_sampled_answer_does_not_depend_on_guesses_that_were_found(make_engine: MakeEngine) -> None:
    plain, guessing = make_engine(), make_engine(drafts=NgramSource(4, shortest=1))
    for seed in range(4):
        request = Request((0, 8, 9, 8), SamplingParameters(temperature=0.7, top_k=8, seed=seed), 60)
        assert run(plain, request).tokens == run(guessing, request).tokens
    assert guessing.telemetry.drafted > 0


def test_a_seeded_answer_does_not_depend_on_who_else_is_served(make_engine: MakeEngine, small: SparseModel) -> None:
    engine = make_engine(drafts=DraftModel(small, 3, sequences=4, context=128))
    request = Request((0, 8), SamplingParameters(temperature=0.9, seed=11), 50)
    alone = run(engine, request).tokens
    sinks = [Collected() for _ in range(4)]
    for number, sink in enumerate(sinks):
        other = Request((0, 30 + number), SamplingParameters(temperature=0.9, seed=number), 50)
        engine.submit(request if number == 2 else other, sink)
    assert sinks[2].wait().tokens == alone


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_drawn_guesses_keep_the_distribution(temperature: float) -> None:
    """Chi-squared over 20,000 draws; guesses from a distribution that differs much from the model's."""
    random = np.random.default_rng(5)
    logits, others = random.normal(0, 1.5, (2, 8)).astype(np.float32)
    parameters = SamplingParameters(temperature=temperature)
    wanted, drawn_from = distribution(logits, parameters), distribution(others, parameters)
    count, kept = 20_000, 0
    found = np.zeros(8)
    for guess in random.choice(8, count, p=drawn_from):
        token = accept(logits, int(guess), drawn_from, parameters, random, (), ())
        found[token] += 1
        kept += token == guess
    chi_squared = float(((found - count * wanted) ** 2 / (count * wanted)).sum())
    # The 99.99th percentile with seven degrees of freedom.
    assert chi_squared < 29.9, found / count - wanted
    # A rejected guess is never drawn again: what stands is what the two distributions share.
    assert kept / count == pytest.approx(np.minimum(wanted, drawn_from).sum(), abs=0.02)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1000), guess=st.integers(0, 7), temperature=st.sampled_from([0.0, 1.0]))
def test_a_found_guess_changes_no_token(seed: int, guess: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 1, 8).astype(np.float32)
    parameters = SamplingParameters(temperature=temperature)
    token = accept(logits, guess, None, parameters, make_generator(seed), (), ())
    assert token == sample(logits, parameters, make_generator(seed))


def test_whole_answers_keep_the_distribution(make_engine: MakeEngine, small: SparseModel) -> None:
    """The second and third token of many sampled answers, with and without guesses from a draft model."""
    plain, guessing = make_engine(), make_engine(drafts=DraftModel(small, 3, sequences=4, context=128))

    def counts(engine: Engine, first_seed: int) -> np.ndarray:
        found = np.zeros((3, SHAPE.vocabulary))
        for seed in range(first_seed, first_seed + 400):
            parameters = SAMPLED.model_copy(update={"seed": seed, "top_k": 3})
            for place, token in enumerate(run(engine, Request((0, 8, 17), parameters, 3)).tokens):
                found[place, token] += 1
        return found

    one, other = counts(plain, 0), counts(guessing, 10_000)
    total = one + other
    statistic = float(((one - other)[total > 0] ** 2 / total[total > 0]).sum())
    # Chi-squared of two samples at three places; its 99.99th percentile after Wilson and Hilferty.
    freedom = int((total > 0).sum()) - 3
    bound = freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert statistic < bound
    assert guessing.telemetry.drafted > 300


def test_a_draft_model_of_another_vocabulary_is_refused(tmp_path: Path, model: SparseModel, small: SparseModel) -> None:
    DraftModel.check(small, model)
    with pytest.raises(ModelUnsupported, match="vocabulary of 290 tokens is not the model's of 300"):
        DraftModel.check(write_model(tmp_path, 290, 3), model)


def test_pages_of_the_draft_model_come_back(make_engine: MakeEngine, small: SparseModel) -> None:
    source = DraftModel(small, 4, sequences=2, context=128)
    engine = make_engine(max_sequences=2, drafts=source)
    sinks = [Collected() for _ in range(6)]
    sequences = [engine.submit(greedy([0, 40 + i], 100), sink) for i, sink in enumerate(sinks)]
    engine.abort(sequences[1])
    engine.resize(engine.plan.minimum_bytes)
    for sink in sinks:
        sink.wait()
    assert engine.drain(WAIT_S)
    assert source.pages.free == source.pages.count


def test_the_text_itself_gives_the_longest_and_latest_match() -> None:
    drafter = NgramDrafter(longest=3, shortest=2)
    text = [1, 2, 3, 4, 5, 1, 2, 9, 7, 1, 2]
    assert drafter.draft(text, 3).tokens == (9, 7, 1)
    assert drafter.draft([*text, 3], 3).tokens == (4, 5, 1)
    assert drafter.draft([*text, 3, 8], 3).tokens == ()
    # The trigram (1, 2, 3) was followed by 4, though (2, 3) alone stands nearer to the end.
    assert drafter.draft([*text, 3, 8, 2, 3, 6, 1, 2, 3], 2).tokens == (8, 2)
    assert NgramDrafter(3, 2).draft([5], 3).tokens == ()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4), st.integers(1, 3))
def test_an_index_built_piece_by_piece_is_that_built_at_once(tokens: list[int], most: int, step: int) -> None:
    gradual = NgramDrafter(3, 1)
    for end in range(1, len(tokens), step):
        gradual.draft(tokens[:end], most)
    found = gradual.draft(tokens, most).tokens
    assert found == NgramDrafter(3, 1).draft(tokens, most).tokens
    if found:
        # Something like it stands in the text after one of the text's endings.
        starts = [at for at in range(1, len(tokens)) if tuple(tokens[at : at + len(found)]) == found]
        assert any(tokens[at - 1] == tokens[-1] for at in starts)


def test_guesses_grow_shrink_and_rest() -> None:
    length = GuessLength(8)
    assert length.take() == 8
    length.learn(8, 2)
    assert length.take() == 3
    length.learn(3, 3)
    assert length.take() == 6
    length.learn(6, 0)
    assert [length.take() for _ in range(3)] == [0, 1, 1]
    length.learn(1, 0)
    assert [length.take() for _ in range(4)] == [0, 0, 0, 1]
    length.learn(1, 1)
    assert length.take() == 2

"""In predictor mode an answer depends on its prompt alone: not on what is cached, put back or computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead_kernels import backend
from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.engine import Engine, Request, SparseModel
from fairlead_sparse_inference.engine.speculation import NgramSource

from .bundles import bundle_of
from .conftest import Collected, Held, resize_held, run

NO_END = {1: -1e9, 4: -1e9}
#: A page holds 16 tokens and a piece of a prompt 64: one token may be left of either.
LENGTHS = (2, 17, 40, 65)
ANSWER = 24

Start = Callable[..., Engine]


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with predictors that leave out neurons that matter."""
    return bundle_of(checkpoint, tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(params=[False, True], ids=["memory", "storage"])
def start(bundle: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts engines in predictor mode, with all neurons in memory or behind a cache, and closes them."""
    made: list[Engine] = []

    def make(mode: str = "predictor", **options: Any) -> Engine:
        model = SparseModel.load(bundle, mode=mode, streamed=request.param)
        made.append(Engine(model, **{"max_sequences": 4, **options}))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def prompt(length: int, seed: int = 0) -> list[int]:
    """Some tokens; prompts of one seed begin alike."""
    return [(7 * place * place + 31 * place + 101 * seed) % 290 + 5 for place in range(length)]


def asked(tokens: list[int], answer: int = ANSWER) -> Request:
    """A seeded request that reports each token's probability, in which a difference shows first."""
    parameters = SamplingParameters(temperature=1.0, seed=11, logit_bias=NO_END)
    return Request(tuple(tokens), parameters, answer, 0)


def told(collected: Collected) -> list[tuple[int, float]]:
    """Tokens with their logarithms of probability; in NumPy, whose sums depend on shapes, the tokens alone."""
    assert collected.finish is not None, collected.failure
    exact = backend().name == "native"
    return [(piece.token, piece.logprob.logprob if exact and piece.logprob else 0.0) for piece in collected.pieces]


def alone(start: Start, tokens: list[int], answer: int = ANSWER, **options: Any) -> list[tuple[int, float]]:
    """What an engine answers that has seen nothing else."""
    found = told(run(start(prefix_cache=False, **options), asked(tokens, answer)))
    assert len(found) == answer
    return found


def test_predictors_do_change_the_answer(start: Start) -> None:
    assert alone(start, prompt(40)) != alone(start, prompt(40), mode="exact"), "the other tests would prove nothing"


@pytest.mark.parametrize("length", LENGTHS)
def test_a_prompt_that_is_cached_but_for_a_token(start: Start, length: int) -> None:
    expected, engine = alone(start, prompt(length)), start()
    for cached in (0, length - 1):
        collected = run(engine, asked(prompt(length)))
        assert collected.finish is not None and collected.finish.cached_tokens == cached
        assert told(collected) == expected


def test_prompts_that_begin_alike(start: Start) -> None:
    engine = start()
    for length in (70, 33, 66, 20):
        tokens = [*prompt(length), *prompt(5, seed=length)]
        assert told(run(engine, asked(tokens))) == alone(start, tokens)


def test_a_prompt_that_holds_an_earlier_answer(start: Start) -> None:
    engine, tokens = start(), prompt(20)
    first = run(engine, asked(tokens))
    longer = [*tokens, *first.tokens, *prompt(3, seed=1)]
    second = run(engine, asked(longer))
    assert second.finish is not None
    assert second.finish.cached_tokens == 20, "the answer is computed as a part of the prompt"
    assert told(second) == alone(start, longer)


def test_answers_side_by_side_while_prompts_come_in(start: Start) -> None:
    requests = [asked(prompt(length, seed), 30) for seed, length in enumerate((40, 1, 65, 17, 2, 100))]
    expected = [told(run(start(prefix_cache=False), request)) for request in requests]
    engine = start()
    for _ in range(2):
        going = [Collected() for _ in requests]
        for request, collected in zip(requests, going, strict=True):
            engine.submit(request, collected)
        assert [told(collected.wait()) for collected in going] == expected


def test_an_answer_that_had_to_make_room(start: Start) -> None:
    requests = [asked(prompt(20, seed), 90) for seed in (0, 1)]
    expected = [told(run(start(prefix_cache=False), request)) for request in requests]
    engine = start(max_sequences=2)
    # The first answer waits for the second request, and both for the test.
    first, second = going = [Held(1), Held(20)]
    for request, collected in zip(requests, going, strict=True):
        engine.submit(request, collected)
    first.let_go()
    resize_held(engine, second, engine.plan.minimum_bytes)
    assert [told(collected.wait()) for collected in going] == expected
    assert engine.telemetry.preempted == 1


def test_guesses(start: Start) -> None:
    tokens = prompt(9) * 4
    engine = start(drafts=NgramSource(7))
    expected = alone(start, tokens, 60)
    assert told(run(engine, asked(tokens, 60))) == expected
    assert engine.telemetry.drafted > 0

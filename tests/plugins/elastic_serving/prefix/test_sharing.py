"""Requests that begin alike share pages, and no token of theirs changes by it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the engine computes in torch")

from fairlead_elastic_serving.engine.engine import Engine
from tests.plugins.elastic_serving.engine.conftest import open_model
from tests.plugins.elastic_serving.engine.serving import request, run
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

PAGE, ROWS = 14, 6


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> RandomModel:
    return RandomModel("llama", tmp_path_factory.mktemp("llama"), eos_token_id=None)


def answers(directory: Path, prompts: list[list[int]], pages: int = 400, tokens: int = 8, **settings) -> tuple:
    """Answer prompts one after the other; return the tokens and how much of each prompt was known."""
    engine = Engine(open_model(directory, pages, **settings), check=True)
    ended = [run(engine, request(prompt, tokens))[0] for prompt in prompts]
    engine.close()
    engine.loop.scheduler.check()
    return [one.tokens for one in ended], [one.end.cached_tokens for one in ended]


def test_what_was_computed_is_not_computed_again(llama: RandomModel) -> None:
    start = some_tokens(3 * PAGE + 5)
    prompts = [start, start, start + some_tokens(30, 1), start[: 2 * PAGE + 3] + some_tokens(9, 2), some_tokens(20, 3)]
    tokens, known = answers(llama.directory, prompts)
    assert tokens == [llama.greedy(prompt, 8) for prompt in prompts]
    # Whole pages are shared; of a page that begins alike the beginning is copied.
    assert known == [0, 3 * PAGE, 3 * PAGE, 2 * PAGE + 3, 0]
    assert answers(llama.directory, prompts, prefix_cache=False) == (tokens, [0] * 5)


def test_an_answer_is_the_beginning_of_the_next_prompt(llama: RandomModel) -> None:
    prompt = some_tokens(20)
    first = llama.greedy(prompt, 40)
    follow = [*prompt, *first, *some_tokens(5, 1)]
    tokens, known = answers(llama.directory, [prompt, follow], tokens=40)
    assert tokens == [first, llama.greedy(follow, 40)]
    # The answer's last token is not stored.
    assert known == [0, (len(prompt) + 39) // PAGE * PAGE]


def test_requests_at_once_share_the_pages_of_their_prompt(llama: RandomModel) -> None:
    start = some_tokens(4 * PAGE)
    prompts = [start + some_tokens(5, seed) for seed in range(1, 5)]
    engine = Engine(open_model(llama.directory, 400, step_tokens=200), check=True)
    run(engine, request(start, 2))
    used = []
    sinks = run(engine, *(request(prompt, 8) for prompt in prompts))
    used.append(engine.pages[0])
    assert [sink.tokens for sink in sinks] == [llama.greedy(prompt, 8) for prompt in prompts]
    assert [sink.end.cached_tokens for sink in sinks] == [4 * PAGE] * 4
    assert engine.telemetry.cached_tokens == 16 * PAGE
    engine.close()


def test_prompts_that_are_computed_side_by_side_end_up_with_one_copy(llama: RandomModel) -> None:
    prompt = some_tokens(4 * PAGE + 3)
    engine = Engine(open_model(llama.directory, 400, step_tokens=200), check=True)
    first, second = run(engine, request(prompt, 8), request(prompt, 8))
    assert first.tokens == second.tokens == llama.greedy(prompt, 8)
    kept = engine.between_steps(lambda: len(engine.model.space.tree)).result()
    assert kept == 4 and engine.model.loaded.arena.used == 4 * ROWS
    engine.close()


def test_what_is_kept_gives_way_to_requests(llama: RandomModel) -> None:
    prompts = [some_tokens(40, seed) for seed in range(6)]
    tokens, known = answers(llama.directory, [*prompts, prompts[0], prompts[-1]], pages=5 * ROWS)
    assert tokens == [llama.greedy(prompt, 8) for prompt in [*prompts, prompts[0], prompts[-1]]]
    assert known[:7] == [0] * 7 and known[7] >= PAGE, "the least recently used are gone"


def test_a_preempted_request_finds_what_it_had(llama: RandomModel) -> None:
    some = [(some_tokens(20 + 3 * seed, seed), 30) for seed in range(4)]
    engine = Engine(open_model(llama.directory, 66, context=100), check=True)
    ended = run(engine, *(request(*one) for one in some))
    assert [one.tokens for one in ended] == [llama.greedy(*one) for one in some]
    stored = sum(len(prompt) + tokens - 1 for prompt, tokens in some)
    assert engine.loop.scheduler.preemptions > 0
    assert engine.telemetry.computed_tokens < stored + 4 * PAGE * engine.loop.scheduler.preemptions
    engine.close()

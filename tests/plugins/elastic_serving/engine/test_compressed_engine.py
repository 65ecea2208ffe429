"""Compressed requests: with exact formats and nothing pruned the model's own text, whatever moves or is shared."""

from __future__ import annotations

import pytest

from fairlead_elastic_serving.compression.options import Compression
from fairlead_elastic_serving.engine.compressed_space import CompressedSpace
from tests.plugins.elastic_serving.engine.conftest import MakeEngine
from tests.plugins.elastic_serving.engine.serving import request, run
from tests.plugins.elastic_serving.engine.test_engine import stopped
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

UNLIKE = [(some_tokens(length, seed), answer) for seed, (length, answer) in enumerate([(3, 30), (61, 40), (44, 30)])]


def exact(**values: object) -> Compression:
    """Tokens move between the tiers all the time, and nothing is lost by it."""
    return Compression(**{"high": "K32V32", "low": "K32V32", "alphas": (1.0, 0.0), "window": 4, **values})


def space_of(engine: object) -> CompressedSpace:
    return engine.model.space  # type: ignore[attr-defined]


@pytest.mark.parametrize("kernels", [None, "torch"])
@pytest.mark.parametrize("when", ["always", "pressure"])
def test_moving_tokens_between_tiers_changes_no_text(
    make_engine: MakeEngine, llama: RandomModel, when: str, kernels: str | None
) -> None:
    engine = make_engine(compression=exact(when=when), kernels=kernels, step_tokens=20)
    answers = run(engine, *(request(*one) for one in UNLIKE))
    assert [answer.tokens for answer in answers] == [stopped(llama.greedy(*one)) for one in UNLIKE]
    assert space_of(engine).compressions == (3 if when == "always" else 0)


def test_under_pressure_requests_are_compressed_before_any_is_preempted(
    make_engine: MakeEngine, llama: RandomModel
) -> None:
    some = [(some_tokens(40 + 3 * seed, seed), 30) for seed in range(4)]
    plain = make_engine(66, context=100, prefix_cache=False)
    run(plain, *(request(*one) for one in some))
    small = Compression(when="pressure", high="K32V32", low="K4V2", alphas=(1.0, 0.5), window=8)
    engine = make_engine(66, context=100, prefix_cache=False, compression=small)
    answers = run(engine, *(request(*one) for one in some))
    assert all(len(answer.tokens) for answer in answers)
    assert space_of(engine).compressions > 0
    assert engine.loop.scheduler.preemptions < plain.loop.scheduler.preemptions


@pytest.mark.parametrize("host_pages", [0, 300])
def test_preempted_compressed_requests_go_on(make_engine: MakeEngine, llama: RandomModel, host_pages: int) -> None:
    some = [(some_tokens(20 + 3 * seed, seed), 30) for seed in range(4)]
    engine = make_engine(70, context=100, host_bytes=host_pages * 1024, prefix_cache=False, compression=exact(window=8))
    answers = run(engine, *(request(*one) for one in some))
    assert [answer.tokens for answer in answers] == [stopped(llama.greedy(*one)) for one in some]
    assert engine.loop.scheduler.preemptions > 0


def test_the_next_turn_of_a_chat_goes_on_from_compressed_pages(make_engine: MakeEngine, llama: RandomModel) -> None:
    engine = make_engine(compression=exact())
    first, more = some_tokens(30, 1), some_tokens(12, 2)
    (answer,) = run(engine, request(first, 10))
    turns = [first + answer.tokens + more, first + answer.tokens + more[:5]]
    answers = run(engine, *(request(turn, 12) for turn in turns))
    assert [answer.tokens for answer in answers] == [stopped(llama.greedy(turn, 12)) for turn in turns]
    # All but the last token of the first turn, which was never stored.
    assert space_of(engine).hits == 2 * (len(first) + len(answer.tokens) - 1)


def test_pruned_tokens_give_their_pages_back(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(400, compression=Compression(alphas=(1e9, 1e9), window=4), prefix_cache=False)
    space, used = space_of(engine), list[int]()
    computed = space.computed
    monkeypatch.setattr(space, "computed", lambda batch: (used.append(space.used), computed(batch)))
    run(engine, request(some_tokens(60), 30))
    # While 60 tokens are computed each row has five pages; then four tokens of the window and 16 until it settles.
    assert max(used) == 30 and used[-1] <= 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"when": "never"}, "when 'never': accepted: always, pressure"),
        ({"high": "K5V1"}, "key_bits 5"),
        ({"low": "int4"}, "format 'int4'"),
        ({"alphas": (0.1, 0.5)}, "accepted: high >= low >= 0"),
        ({"window": 0}, "window 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Compression(**values)

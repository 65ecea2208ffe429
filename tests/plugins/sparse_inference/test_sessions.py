"""Sessions on disk: brought back after a restart, never trusted when damaged, never in the way of an answer."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest

from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.application import serve
from fairlead_sparse_inference.engine import Engine, Finish, Request, SparseModel
from fairlead_sparse_inference.engine.sessions import (
    DamagedSession,
    Session,
    SessionStore,
    read_session,
    write_session,
)

from .conftest import WAIT_S, run

MakeEngine = Callable[..., Engine]
PROMPT = (0, *(int(token) for token in np.random.default_rng(4).integers(5, 300, 40)))


class Warnings(list[tuple[str, dict[str, Any]]]):
    """Collects what is warned of."""

    def __call__(self, event: str, **values: Any) -> None:
        self.append((event, values))


@pytest.fixture
def warned() -> Warnings:
    return Warnings()


@pytest.fixture
def make_store(tmp_path: Path, warned: Warnings) -> Iterator[Callable[..., SessionStore]]:
    made: list[SessionStore] = []

    def make(model: str = "a model", limit_bytes: int = 2**30) -> SessionStore:
        made.append(SessionStore(tmp_path / "sessions", model, limit_bytes=limit_bytes, warn=warned))
        return made[-1]

    yield make
    for store in made:
        store.close()


def asked(prompt: tuple[int, ...] = PROMPT, session: str | None = "letter", most: int = 12) -> Request:
    return Request(prompt, SamplingParameters(temperature=0), most, session=session)


def session_of(tokens: int, seed: int = 0) -> Session:
    random = np.random.default_rng(seed)
    keys = random.normal(size=(2, tokens, 3, 4)).astype(np.float32)
    return Session(list(range(tokens)), {"keys": keys, "values": -keys})


def test_a_conversation_goes_on_after_a_restart(make_engine: MakeEngine, make_store: Callable[..., Any]) -> None:
    first = make_engine(sessions=make_store())
    answer = run(first, asked())
    first.close()
    longer = (*PROMPT, *answer.tokens, 77, 9)
    fresh, second = make_engine(), make_engine(sessions=make_store())
    expected = run(fresh, asked(longer, session=None)).tokens
    # The answer's last token was never computed.
    assert second.sessions.recall(asked(longer)) == len(PROMPT) + len(answer.tokens) - 1
    assert second.sessions.recall(asked(longer)) == 0, "it is in memory now"
    assert run(second, asked(longer)).tokens == expected
    assert second.drain(WAIT_S)
    assert second.telemetry.prompt_tokens == 3
    assert second.pages[0] == 0


def test_who_has_an_answer_may_close_the_engine_at_once(
    make_engine: MakeEngine, make_store: Callable[..., Any]
) -> None:
    store, ended = make_store(), Event()
    engine = make_engine(sessions=store)

    def sink(event: object) -> None:
        if isinstance(event, Finish):
            ended.set()
            # The turn goes on after its answer has been told.
            time.sleep(0.2)

    engine.submit(asked(), sink)
    assert ended.wait(WAIT_S)
    engine.close()
    assert store.saved == 1


def test_without_a_name_nothing_is_written(make_engine: MakeEngine, make_store: Callable[..., Any]) -> None:
    engine = make_engine(sessions=make_store())
    run(engine, asked(session=None))
    assert engine.drain(WAIT_S)
    assert list(engine.sessions.store.directory.iterdir()) == []


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    path, written = tmp_path / "x.session", session_of(5)
    write_session(path, session_of(9), "model")
    write_session(path, written, "model")
    found = read_session(path, "model")
    assert found.tokens == written.tokens
    for name, array in written.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [file.name for file in tmp_path.iterdir()] == ["x.session"]


@pytest.mark.parametrize("where", [4, 40, 200, -700, -1])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, where: int) -> None:
    path = tmp_path / "x.session"
    write_session(path, session_of(30), "model")
    data = bytearray(path.read_bytes())
    data[where] ^= 4
    path.write_bytes(data)
    with pytest.raises(DamagedSession, match=r"x\.session: "):
        read_session(path, "model")


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_a_file_that_was_cut_is_found(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.session"
    write_session(path, session_of(30), "model")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedSession):
        read_session(path, "model")


def test_a_damaged_session_is_told_once_and_computed_again(
    make_engine: MakeEngine, make_store: Callable[..., Any], warned: Warnings
) -> None:
    first = make_engine(sessions=make_store())
    expected = run(first, asked()).tokens
    assert first.drain(WAIT_S)
    path = first.sessions.store.directory / "letter.session"
    path.write_bytes(path.read_bytes()[:-9])
    second = make_engine(sessions=make_store())
    assert second.sessions.recall(asked()) == 0
    assert [event for event, _ in warned] == ["session ignored, it is computed again"]
    assert str(path) in warned[0][1]["reason"]
    assert run(second, asked()).tokens == expected
    assert second.drain(WAIT_S)
    assert read_session(path, "a model").tokens[: len(PROMPT)] == list(PROMPT)


def test_another_models_session_is_not_used(
    make_engine: MakeEngine, make_store: Callable[..., Any], warned: Warnings
) -> None:
    first = make_engine(sessions=make_store("one"))
    run(first, asked())
    assert first.drain(WAIT_S)
    second = make_engine(sessions=make_store("another"))
    assert second.sessions.recall(asked()) == 0
    assert "another model" in warned[0][1]["reason"]


def test_pages_of_another_kind_are_not_used(
    make_engine: MakeEngine, make_store: Callable[..., Any], warned: Warnings
) -> None:
    store = make_store()
    write_session(store.directory / "letter.session", Session(list(PROMPT), session_of(len(PROMPT)).arrays), "a model")
    engine = make_engine(sessions=store)
    assert engine.sessions.recall(asked()) == 0
    assert "keys: accepted: float32" in warned[0][1]["reason"]
    assert run(engine, asked()).finish is not None


def test_a_disk_that_takes_nothing_is_warned_of_and_the_answer_comes(
    make_engine: MakeEngine, make_store: Callable[..., Any], warned: Warnings
) -> None:
    """The system refuses to let files grow beyond 4 KiB, as a full disk does."""
    engine = make_engine(sessions=make_store())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        answer = run(engine, asked())
        # The turn that gave the answer is still to hand its session over.
        engine.resize(None)
        assert engine.sessions.flush(WAIT_S)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.finish is not None
    assert [event for event, _ in warned] == ["session not saved, generation goes on"]
    assert "File too large" in warned[0][1]["reason"]
    assert list(engine.sessions.store.directory.iterdir()) == []
    run(engine, asked())
    assert engine.drain(WAIT_S)
    assert (engine.sessions.store.saved, engine.sessions.store.failed) == (1, 1)


def test_a_session_that_cannot_be_fetched_does_not_stop_the_others(
    make_store: Callable[..., Any], warned: Warnings
) -> None:
    store = make_store()

    def broken() -> Session:
        raise ValueError("pages of another kind")

    store.save("first", broken)
    store.save("second", lambda: Session([1, 2], {"keys": np.zeros((1, 2, 3), np.float32)}))
    assert store.flush(WAIT_S)
    assert (store.failed, store.saved) == (1, 1)
    ((event, values),) = warned
    assert event.startswith("session not saved") and values["reason"] == "pages of another kind"


def test_the_sessions_saved_longest_ago_give_way(make_store: Callable[..., Any], warned: Warnings) -> None:
    size = session_of(50).bytes
    store = make_store(limit_bytes=int(size * 3.5))
    for number in range(5):
        store.save(f"s{number}", lambda number=number: session_of(50, number))
        assert store.flush(WAIT_S)
    assert sorted(file.stem for file in store.directory.iterdir()) == ["s2", "s3", "s4"]
    store.save("large", lambda: session_of(500))
    assert store.flush(WAIT_S)
    assert warned[-1][0] == "session not saved"
    assert store.load("large") is None


async def test_a_session_over_the_api(
    model: SparseModel, make_engine: MakeEngine, make_store: Callable[..., Any]
) -> None:
    messages = [{"role": "user", "content": "Who is there? A friend, said the boy. The rain fell on the harbour."}]
    body = {"model": "chat", "messages": messages, "temperature": 0, "max_tokens": 8, "session": "letter"}
    answers: list[Any] = []
    for _ in range(2):
        engine = make_engine(sessions=make_store())
        transport = httpx.ASGITransport(serve(engine, "chat").asgi())
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            answers.append((await client.post("/v1/chat/completions", json=body)).json())
        engine.close()
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert answers[1]["usage"]["prompt_tokens_details"] == {"cached_tokens": answers[1]["usage"]["prompt_tokens"] - 1}

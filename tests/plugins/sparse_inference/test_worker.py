"""The worker's life: prepare, serve, reconfigure, drain, hand over."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from fairlead_agent.plugin import Budget
from fairlead_kernels import backend
from fairlead_sparse_inference.engine import ModelUnsupported
from fairlead_sparse_inference.settings import read_settings
from fairlead_sparse_inference.worker import Worker

MIB = 2**20


def context(checkpoint: Path, variant: str = "q8-sparse-native", budget: Budget | None = None, **config: Any) -> Any:
    """What the worker host gives, without the host."""
    progress: list[float] = []
    log = SimpleNamespace(
        info=lambda event, **values: logging.info(event),
        warning=lambda event, **values: logging.warning("%s %s", event, values),
    )
    return SimpleNamespace(
        workload="chat",
        variant=variant,
        config={"model": str(checkpoint), **config},
        budget=budget or Budget(),
        log=log,
        metrics=CollectorRegistry(),
        progress=lambda share, what: progress.append(share),
        shown=progress,
    )


@pytest.fixture
def variant() -> str:
    return "q8-sparse-native" if backend().name == "native" else "q8-sparse-numpy"


async def test_a_worker_serves_shrinks_grows_and_drains(checkpoint: Path, variant: str) -> None:
    worker, given = Worker(), context(checkpoint, variant)
    worker.prepare(given)
    assert given.shown[-1] == 1.0
    app = worker.application(given)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        body = {"model": "chat", "prompt": "The rain", "max_tokens": 4, "temperature": 0}
        before = (await client.post("/v1/completions", json=body)).json()["choices"]
        minimum = worker.reconfigure(Budget(), 1.0).minimum["dram"]
        shrunk = worker.reconfigure(Budget(memory_bytes={"dram": minimum}, cores=1), 1.0)
        assert shrunk.accepted
        assert shrunk.in_use["dram"] == minimum
        assert (await client.post("/v1/completions", json=body)).json()["choices"] == before
        refused = worker.reconfigure(Budget(memory_bytes={"dram": minimum - 1}), 1.0)
        assert not refused.accepted
        assert str(minimum) in refused.reason
        grown = worker.reconfigure(Budget(memory_bytes={"dram": minimum + 64 * MIB}, cores=2), 1.0)
        assert grown.accepted and grown.in_use["dram"] > minimum
        worker.drain()
        assert (await client.post("/v1/completions", json=body)).status_code == 503
    assert worker.measurements()["throughput_per_s"] > 0
    assert "throughput_per_s" not in worker.measurements()


async def test_a_successor_takes_over_what_was_learnt(checkpoint: Path, variant: str) -> None:
    first, second = Worker(), Worker()
    app = first.application(context(checkpoint, variant))
    second.application(context(checkpoint, variant))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.post("/v1/completions", json={"model": "chat", "prompt": "The rain", "max_tokens": 4})
    state = first.checkpoint()
    second.restore(state)
    assert first.checkpoint() == second.checkpoint()
    for damaged in (b"", state[: len(state) // 2], b"PK" + state[2:40]):
        with pytest.raises(ValueError, match="checkpoint"):
            second.restore(damaged)
    assert first.checkpoint() == second.checkpoint()


def test_a_budget_that_holds_no_sequence_is_refused_at_the_start(checkpoint: Path, variant: str) -> None:
    worker = Worker()
    with pytest.raises(Exception, match="accepted: at least"):
        worker.application(context(checkpoint, variant, Budget(memory_bytes={"dram": MIB})))


def test_an_unknown_variant_names_the_known_ones(checkpoint: Path) -> None:
    with pytest.raises(RuntimeError, match="q8-sparse-native, q8-sparse-numpy"):
        Worker().prepare(context(checkpoint, "int4"))


def test_a_damaged_model_is_named(tmp_path: Path, checkpoint: Path, variant: str) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Worker().prepare(context(tmp_path, variant))


async def test_settings_reach_the_engine(checkpoint: Path, variant: str, tmp_path: Path) -> None:
    """A draft model, sessions that outlive the worker, and the draft's memory in the budget."""
    config = {"draft_model": str(checkpoint), "draft_tokens": 3, "session_directory": str(tmp_path / "sessions")}
    body = {"model": "chat", "prompt": "The rain fell", "max_tokens": 20, "temperature": 0, "session": "a"}
    answers: list[Any] = []
    for _ in range(2):
        worker = Worker()
        app = worker.application(context(checkpoint, variant, **config))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answers.append((await client.post("/v1/completions", json=body)).json())
        worker.drain()
        engine = worker._running()
        assert engine.telemetry.accepted > 0
        assert engine.plan.base_bytes > engine.plan.sequence_pages * engine.plan.page_bytes
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


async def test_a_directory_that_cannot_be_made_costs_only_the_sessions(
    checkpoint: Path, variant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    worker = Worker()
    app = worker.application(context(checkpoint, variant, session_directory=str(tmp_path / "file" / "sessions")))
    assert "sessions are not kept" in caplog.text
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        body = {"model": "chat", "prompt": "The rain", "max_tokens": 4, "session": "a"}
        assert (await client.post("/v1/completions", json=body)).status_code == 200


def test_a_draft_model_of_another_vocabulary_is_refused(checkpoint: Path, variant: str) -> None:
    with pytest.raises(ModelUnsupported, match="draft_model"):
        Worker().prepare(context(checkpoint, variant, draft_model="tiny-drelu"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"draft": "ngram", "draft_model": "tiny-drelu"}, "draft and draft_model: accepted: one of them"),
        ({"session_directory": "/s", "prefix_cache": False}, "session_directory needs prefix_cache = true"),
        ({"session_directory": "s"}, "an absolute path"),
        ({"draft_tokens": 0}, "greater than or equal to 1"),
        ({"draft_tokens": 8}, "less than or equal to 7"),
        ({"draft": "other"}, "'ngram'"),
        ({"draft_model": "other"}, "tiny-drelu, or an absolute path"),
    ],
)
def test_settings_that_do_not_fit_are_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"accepted|needs|greater|Input") as caught:
        read_settings(config)
    assert words in str(caught.value)

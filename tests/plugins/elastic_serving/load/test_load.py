"""The load generator against a real server of a small model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner
from prometheus_client.registry import Collector

from fairlead_elastic_serving.load.client import Outcome, Server, prompt_of, replay
from fairlead_elastic_serving.load.command import serving_load
from fairlead_elastic_serving.load.scaling import Scale, scaled
from fairlead_elastic_serving.load.summary import Goal, summarize
from fairlead_elastic_serving.load.traces import Arrival, generated
from fairlead_language_model.graph import LlamaGraph
from fairlead_language_model.serving import Finish
from fairlead_language_model.serving.application import Application
from fairlead_language_model.tokenizer import open_tokenizer
from tests.plugins.language_model.conftest import CONFIG, random_tensors, write_model
from tests.plugins.language_model.serving.conftest import SHIPPED
from tests.plugins.language_model.serving.graph_engine import GraphEngine

MODEL = "tiny"


class Nothing(Collector):
    """A server without metrics."""

    def collect(self) -> Iterator[Any]:
        yield from ()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphEngine]:
    tokenizer = open_tokenizer(SHIPPED)
    config = {**CONFIG, "vocab_size": tokenizer.vocab_size, "max_position_embeddings": 128}
    model = write_model(tmp_path_factory.mktemp("served"), random_tensors(3, config), config)
    engine = GraphEngine(LlamaGraph.load(model), tokenizer, most=64)
    yield engine
    engine.drain()


@pytest.fixture(scope="module")
def url(engine: GraphEngine) -> Iterator[str]:
    """A server of the model, on a port of its own."""
    app = Application(engine, MODEL, Nothing()).asgi()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def sent(url: str, arrivals: list[Arrival], **changes: Any) -> list[Outcome]:
    return asyncio.run(replay(Server(url, **{"model": MODEL, **changes}), arrivals, seed=0))


def test_answers_have_the_length_that_was_asked_for_and_come_when_due(url: str, engine: GraphEngine) -> None:
    arrivals = [Arrival(0.0, 20, 12), Arrival(0.1, 5, 1), Arrival(0.3, 30, 7)]
    outcomes = sent(url, arrivals)
    assert [outcome.error for outcome in outcomes] == ["", "", ""]
    assert [outcome.tokens for outcome in outcomes] == [12, 1, 7]
    for arrival, outcome in zip(arrivals, outcomes, strict=True):
        assert outcome.first_s is not None and outcome.last_s is not None
        assert arrival.at_s <= outcome.sent_s <= outcome.first_s <= outcome.last_s
    assert outcomes[1].tpot_s is None and outcomes[0].tpot_s is not None
    prompts = {finish.prompt_tokens for finish in engine.ended if isinstance(finish, Finish)}
    assert {20, 5, 30} <= prompts, "prompts are as long as the trace says"


def test_what_a_server_refuses_is_the_requests_outcome_and_ends_nothing(url: str) -> None:
    outcomes = sent(url, [Arrival(0.0, 500, 4), Arrival(0.0, 4, 4)])
    assert outcomes[0].error.startswith("HTTP 400: the prompt has 500 tokens; accepted")
    assert outcomes[1].error == "" and outcomes[1].tokens == 4
    assert "HTTP 404" in sent(url, [Arrival(0.0, 4, 4)], model="other")[0].error
    assert "ConnectError" in sent("http://127.0.0.1:9", [Arrival(0.0, 4, 4)])[0].error
    summary = summarize(outcomes, Goal(60.0, 60.0))
    assert (summary.requests, summary.failed, summary.tokens_per_s > 0) == (2, 1, True)


def test_prompts_are_the_same_for_a_seed_and_below_the_vocabulary() -> None:
    server = Server("http://x", MODEL, vocabulary=50)
    first, again, other = (prompt_of(server, Arrival(0.0, 40, 1), seed) for seed in ("0 1", "0 1", "0 2"))
    assert first == again != other
    assert all(8 <= token < 50 for token in first)
    with pytest.raises(ValueError, match="vocabulary 8: accepted: 9 and above"):
        Server("http://x", MODEL, vocabulary=8)


def test_a_request_is_good_where_both_times_are_kept() -> None:
    goal = Goal(ttft_s=1.0, tpot_s=0.1)
    quick = Outcome(5.0, 4, 11, 5.0, first_s=5.9, last_s=6.8, tokens=11)
    late = Outcome(5.0, 4, 11, 5.0, first_s=6.1, last_s=6.2, tokens=11)
    slow = Outcome(5.0, 4, 11, 5.0, first_s=5.1, last_s=6.2, tokens=11)
    cut = Outcome(5.0, 4, 11, 5.0, first_s=5.1, last_s=5.2, tokens=3, error="3 of 11 tokens came")
    assert [goal.kept_by(outcome) for outcome in (quick, late, slow, cut)] == [True, False, False, False]
    summary = summarize([quick, late, slow, cut], goal)
    assert summary.seconds == pytest.approx(1.8)
    assert summary.goodput_per_s == pytest.approx(1 / 1.8)
    assert summary.ttft_s["p50"] == pytest.approx(0.9)
    assert summary.errors == {"3 of 11 tokens came": 1}


def test_nothing_answered_has_no_percentiles() -> None:
    summary = summarize([Outcome(0.0, 1, 1, error="gone")], Goal(1.0, 1.0))
    assert (summary.ttft_s, summary.goodput_per_s, summary.seconds) == ({}, 0.0, 0.0)


def test_the_generated_trace_bursts() -> None:
    """The busiest ten seconds carry several times the mean, as in the trace's window."""
    arrivals = generated(1)
    busiest = sum(30 <= arrival.at_s < 40 for arrival in arrivals) / 10
    assert busiest > 3 * len(arrivals) / 120
    assert arrivals == generated(1) != generated(2)
    thinned = scaled(arrivals, Scale(0.1, 2.0, 0.25, 100), seed=1)
    assert 0.15 < len(thinned) / len(arrivals) < 0.35
    assert max(arrival.prompt for arrival in thinned) <= 100


def test_the_command_prints_figures_and_writes_outcomes(url: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [f"2023-11-16 18:17:0{second}.5000000,{40 + second},4" for second in range(1, 4)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    options = ["--direct", "--url", url, "--trace", str(trace), "--start", "0", "--keep", "1", "--prompts", "0.5"]
    out = tmp_path / "outcomes.jsonl"
    done = CliRunner().invoke(serving_load, [MODEL, *options, "--seconds", "1.5", "--json", "--out", str(out)])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["requests"], summary["failed"]) == (2, 0)
    assert [json.loads(line)["tokens"] for line in out.read_text().splitlines()] == [8, 8]
    shown = CliRunner().invoke(serving_load, [MODEL, *options, "--seconds", "0.5"])
    assert "1 requests" in shown.output and "goodput" in shown.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--direct"], "--direct needs --url"),
        (["--direct", "--url", "http://127.0.0.1:9", "--seconds", "1", "--start", "500"], "no request between"),
        (["--direct", "--url", "http://127.0.0.1:9", "--seconds", "3", "--keep", "0.3"], "ConnectError"),
    ],
)
def test_what_cannot_be_done_is_one_line(options: list[str], words: str) -> None:
    done = CliRunner().invoke(serving_load, [MODEL, *options])
    assert done.exit_code != 0 and words in done.output

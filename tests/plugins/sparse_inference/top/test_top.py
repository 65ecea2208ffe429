"""What `fairlead sparse top` shows of an instance, and what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry, generate_latest

from fairlead_kernels.work import FIELDS
from fairlead_sparse_inference.engine import Engine
from fairlead_sparse_inference.metrics import EngineCollector
from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.top import command
from fairlead_sparse_inference.top.rates import by_layer, rates
from fairlead_sparse_inference.top.reading import Reading, parse
from fairlead_sparse_inference.top.source import spans

from ..conftest import SHAPE, WAIT_S, greedy, run

STORAGE = {"fixed_hits": 10, "hot_hits": 60, "cold_hits": 20, "misses": 10, "reads": 10, "read_bytes": 40960}
STORAGE |= {"read_ns": 4_000_000, "stalled_ns": 1_000_000}


def scrape(engine: Engine) -> str:
    registry = CollectorRegistry()
    registry.register(EngineCollector(engine))
    return generate_latest(registry).decode()


@pytest.fixture
def served(make_engine: Callable[..., Engine]) -> Engine:
    """An engine that has answered once."""
    engine = make_engine()
    run(engine, greedy([0, 5, 6], 9, logit_bias={1: -1e9, 4: -1e9}))
    assert engine.drain(WAIT_S)
    return engine


def test_numbers_follow_from_counters(served: Engine) -> None:
    values = rates(parse(scrape(served), "edge", 5.0), None)
    assert (values["answer_tokens"], values["prompt_tokens"]) == (9, 3)
    # Three tokens were read and eight written: the last one is never computed.
    assert values["computed_neurons_per_token"] == SHAPE.neurons * SHAPE.layers
    assert 0 < values["active_share"] < 1
    assert values["active_neurons_per_token"] == pytest.approx(
        values["active_share"] * values["computed_neurons_per_token"]
    )
    assert values["decode_tokens_per_s"] > 0
    assert values["kv_pages"] == served.pages[1]


def test_what_an_instance_does_not_do_is_absent(served: Engine) -> None:
    reading = parse(scrape(served), "", 5.0)
    values = rates(reading, None)
    absent = {"draft_acceptance", "read_bytes_per_token", "found_hot_share", "predicted_neurons_per_token"}
    assert not absent & values.keys()
    # Nothing per second can be said of a span of unknown length.
    assert not {"answer_tokens_per_s", "prompt_tokens_per_s"} & values.keys()
    assert set(by_layer(reading)) == {"active"}


def test_storage_shows_once_there_is_some(served: Engine) -> None:
    for name, value in STORAGE.items():
        served.telemetry.work[1, FIELDS.index(name)] += value
    values = rates(parse(scrape(served), "", 5.0), None)
    assert values["found_hot_share"] == 0.6
    assert values["found_storage_share"] == 0.1
    assert values["read_overlap_share"] == 0.75
    assert values["read_bytes_per_token"] == pytest.approx(40960 / 11)


def test_a_span_counts_from_the_last_reading_of_the_same_node() -> None:
    def reading(at_s: float, node: str, tokens: float, requests: float = 9) -> Reading:
        samples = {
            "tokens": {"completion": tokens, "prompt": 0.0},
            "requests": {"": requests},
            "memory_bytes": {"": 7.0},
        }
        return Reading(at_s, node, samples)

    taken = iter(
        [reading(0, "a", 10), reading(1, "b", 100), reading(2, "a", 30), reading(4, "b", 101), reading(5, "a", 4, 1)]
    )
    found: list[tuple[Any, Any]] = []
    with pytest.raises((StopIteration, RuntimeError)):
        for span, seconds in spans(lambda: next(taken), 1.0, sleep=lambda _: None):
            found.append((rates(span, seconds)["answer_tokens"], seconds))
            assert span.sum("memory_bytes") == 7
    # The last one is smaller than before: the instance was started anew.
    assert found == [(10, None), (100, None), (20, 2), (1, 3), (4, 3)]


@pytest.mark.parametrize("text", ["", "other_total 3\n", "fairlead_sparse_tokens_total{ 3\n"])
def test_the_metrics_of_something_else_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text, "", 0.0)


@pytest.fixture
def gateway(served: Engine) -> Iterator[str]:
    """Answers as the gateway does for one workload called "chat"."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/workloads/chat/metrics" and self.headers["authorization"] == "Bearer t"
            text = scrape(served).encode() if known else b'{"detail": "no such workload"}'
            self.send_response(200 if known else 404)
            self.send_header("content-length", str(len(text)))
            self.send_header("fairlead-node", "edge")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def call(gateway: str, *arguments: str) -> Result:
    return CliRunner().invoke(sparse, [*arguments, "--url", gateway, "--token", "t"])


def test_once_prints_a_table_or_json(gateway: str) -> None:
    shown = call(gateway, "top", "chat", "--once")
    assert shown.exit_code == 0, shown.output
    assert "chat on edge, since its start" in shown.output
    assert "active neurons a token" in shown.output and "guesses" not in shown.output
    told = json.loads(call(gateway, "top", "chat", "--once", "--json").output)
    assert told["node"] == "edge" and told["values"]["answer_tokens"] == 9
    assert len(told["layers"]["active"]) == SHAPE.layers


def test_a_workload_that_is_not_there_is_one_line(gateway: str) -> None:
    shown = call(gateway, "top", "other", "--once")
    assert shown.exit_code == 1
    assert shown.output.strip() == "Error: no such workload"


def test_telemetry_is_recorded_and_plotted(gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of a second between two looks, so that there are as many readings however long each takes.
    looks = count()
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: 0.1 * next(looks)))
    out, plots = tmp_path / "told.jsonl", tmp_path / "plots"
    arguments = ("--every", "0.1", "--seconds", "0.4", "--out", str(out))
    shown = call(gateway, "telemetry", "chat", *arguments)
    assert shown.exit_code == 0, shown.output
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(told) >= 2
    assert told[0]["span_s"] is None and told[1]["span_s"] > 0.05
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    shown = call(gateway, "telemetry", "chat", *arguments, "--plots", str(plots), "--plot-format", "svg")
    assert shown.exit_code == 0, shown.output
    drawn = (plots / "telemetry.svg").read_text()
    assert "<svg" in drawn and len(drawn) > 5000

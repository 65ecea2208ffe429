"""Logs: machine-readable, and without secrets."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from fairlead_agent.messages import LeaseKey
from fairlead_agent.runtime.logfile import WorkerLog
from fairlead_agent.runtime.logging import REDACTED, configure


@pytest.fixture
def log():
    before = structlog.get_config()
    stream = io.StringIO()
    configure("json", level="INFO", stream=stream)
    yield structlog.get_logger(), stream
    structlog.configure(**before)


def _entries(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "name", ["password", "broker_password", "token", "join-token", "cookie", "private_key", "api_key", "Authorization"]
)
def test_secrets_are_redacted_at_any_depth(log, name):
    logger, stream = log
    logger.info("event", **{name: "s3cret"}, nested={"deep": [{name: "s3cret"}]})
    (entry,) = _entries(stream)
    assert "s3cret" not in stream.getvalue()
    assert entry[name] == REDACTED and entry["nested"]["deep"][0][name] == REDACTED


def test_what_only_sounds_like_a_secret_stays(log):
    logger, stream = log
    key = LeaseKey(site="home", workload="echo", replica=0)
    logger.info("event", key=str(key), tokens_per_s=7, keyboard="de", monkey="x")
    (entry,) = _entries(stream)
    assert entry["key"] == "home/echo/0"
    assert (entry["tokens_per_s"], entry["keyboard"], entry["monkey"]) == (7, "de", "x")


def test_bearer_tokens_in_texts_are_redacted(log):
    logger, stream = log
    logger.info("request", header="Authorization: Bearer abcdefghijkl.mnop")
    assert "abcdefghijkl" not in stream.getvalue()


def test_levels_and_their_names(log):
    logger, stream = log
    logger.debug("unseen")
    logger.warning("seen")
    assert [(entry["event"], entry["level"]) for entry in _entries(stream)] == [("seen", "warning")]
    with pytest.raises(ValueError, match="'LOUD', accepted are DEBUG"):
        configure(level="LOUD")


def test_a_log_is_rotated_while_its_writer_goes_on(tmp_path):
    log = WorkerLog(tmp_path / "worker.log", max_bytes=1000)
    with open(log.path, "a", buffering=1) as writer:
        for number in range(300):
            writer.write(f"line {number}\n")
            log.rotate()
        assert log.path.stat().st_size + log.old_path.stat().st_size <= 2 * 1020
        assert log.tail(60) == [f"line {number}" for number in range(240, 300)]


def test_no_log_yet(tmp_path):
    log = WorkerLog(tmp_path / "worker.log", max_bytes=1000)
    assert log.rotate() is False and log.tail(5) == []

"""What commands say when there is no control plane, a wrong one, or one that breaks off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from fairlead_agent.bus.broker.process import free_port
from fairlead_agent.cli.api_client import ApiClient, find_client
from fairlead_agent.cli.errors import CliError
from tests.agent.cli.conftest import Canned, text_of

Run = Callable[..., Result]


def error(result: Result) -> str:
    """The one line that a failed command prints."""
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    return line


def test_without_a_control_plane(fairlead: Run) -> None:
    for command in (["get"], ["explain", "w"], ["graph"], ["chat", "w", "hi"], ["events"], ["token", "list"]):
        said = error(fairlead(*command))
        assert said.startswith("Error: no control plane is known here: start one with `fairlead up`"), command


def test_nobody_listens(fairlead: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = error(fairlead("get", "--url", url, "--token", "t"))
    assert said == f"Error: no control plane answers at {url} (connection refused); is the fleet up?"


@pytest.mark.parametrize("url", ["localhost:8470", "ftp://x", "http://", "http://127.0.0.1:99999", "http://[", "x"])
def test_an_address_that_is_none(fairlead: Run, url: str) -> None:
    said = error(fairlead("get", "--url", url, "--token", "t"))
    assert said == f"Error: the control plane's address {url!r} is none; accepted is e.g. http://127.0.0.1:8470"


def test_a_token_that_cannot_be_one_is_refused_without_being_shown(fairlead: Run) -> None:
    said = error(fairlead("get", "--url", "http://127.0.0.1:1", "--token", "geheim\nü"))
    assert said == "Error: the token of --token holds characters that no token has"


def test_a_wrong_token_is_named_by_where_it_is_from(fairlead: Run, canned: Canned) -> None:
    canned.answers["/api/v1/nodes"] = (401, text_of({"detail": "missing or unknown bearer token"}))
    said = error(fairlead("get", "nodes"))
    assert said.endswith("does not accept the token of FAIRLEAD_TOKEN: missing or unknown bearer token")
    assert "secret-token" not in said
    assert error(fairlead("get", "nodes", "--token", "other")).count("of --token:") == 1


def test_another_server_answers(fairlead: Run, canned: Canned) -> None:
    canned.answers["/api/v1/nodes"] = (200, b"<html>hello</html>")
    assert error(fairlead("get", "nodes")).endswith("is no Fairlead control plane: it sent no JSON")
    canned.answers["/api/v1/nodes"] = (502, b"<html>bad gateway</html>")
    assert error(fairlead("get", "nodes")).endswith("answered 502; is it a Fairlead control plane?")


def test_errors_of_both_kinds_are_passed_on(fairlead: Run, canned: Canned) -> None:
    canned.answers["/api/v1/workloads/w"] = (409, text_of({"error": {"message": "said by the gateway"}}))
    assert error(fairlead("delete", "w")) == "Error: said by the gateway"


def test_an_answer_that_breaks_off(fairlead: Run, canned: Canned) -> None:
    canned.answers["/api/v1/nodes"] = (200, b"[BREAK")
    assert "the connection broke off" in error(fairlead("get", "nodes"))
    canned.answers["/v1/chat/completions"] = (200, b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\nBREAK')
    assert "the connection broke off" in fairlead("chat", "w", "hi").output
    canned.answers["/v1/chat/completions"] = (200, b'data: {"error": {"message": "the node was lost"}}\n\n')
    assert error(fairlead("chat", "w", "hi")) == "Error: the node was lost"
    canned.answers["/v1/chat/completions"] = (200, b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\n')
    assert "the answer broke off" in fairlead("chat", "w", "hi").output


def test_names_cannot_leave_their_place_in_the_path(fairlead: Run, canned: Canned) -> None:
    fairlead("delete", "../tokens/admin?x=#")
    assert canned.asked == [("DELETE", "/api/v1/workloads/..%2Ftokens%2Fadmin%3Fx%3D%23", "")]


def test_options_come_before_the_environment_and_that_before_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "client.json").write_text(json.dumps({"url": "http://file:1", "token": "from-file"}))
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(tmp_path))
    found = find_client(None, None)
    assert (found.url, found.token, found.source) == ("http://file:1", "from-file", str(tmp_path / "client.json"))
    monkeypatch.setenv("FAIRLEAD_TOKEN", "from-environment")
    assert find_client(None, None).token == "from-environment"
    assert find_client("http://option:1", "from-option") == ApiClient("http://option:1", "from-option", "--token")
    assert "from-option" not in repr(find_client("http://option:1", "from-option"))


def test_a_client_file_that_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text("{")
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(tmp_path))
    with pytest.raises(CliError, match=r"client\.json"):
        find_client(None, None)

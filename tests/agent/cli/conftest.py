"""Commands as a user runs them: in-process where that is enough, as processes where it matters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairlead_agent.cli.main import main

Answers = dict[str, tuple[int, bytes]]


@pytest.fixture(autouse=True)
def no_known_control_plane(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test talks to a control plane that happens to run on the developer's machine, or prints for its terminal."""
    home = tmp_path_factory.mktemp("home")
    for name in ("FAIRLEAD_URL", "FAIRLEAD_TOKEN", "FAIRLEAD_STATE_DIR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture
def fairlead() -> Callable[..., Result]:
    """Runs ``fairlead ARGS`` in this process."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, prog_name="fairlead")

    return run


class Canned:
    """An HTTP server with canned answers, for what a real control plane never says."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, str]] = []
        canned = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                canned.asked.append((self.command, self.path, body.decode()))
                status, text = canned.answers.get(self.path, (404, b'{"detail": "canned: not here"}'))
                self.send_response(status)
                # Longer than what follows: the connection breaks off.
                length = len(text) + 100 if b"BREAK" in text else len(text)
                self.send_header("content-length", str(length))
                self.send_header("fairlead-node", "edge")
                self.end_headers()
                self.wfile.write(text.replace(b"BREAK", b""))

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    """A canned control plane that commands find by the environment."""
    made = Canned({})
    monkeypatch.setenv("FAIRLEAD_URL", made.url)
    monkeypatch.setenv("FAIRLEAD_TOKEN", "secret-token")
    yield made
    made.close()


def text_of(value: Any) -> bytes:
    """JSON as a server sends it."""
    return json.dumps(value).encode()

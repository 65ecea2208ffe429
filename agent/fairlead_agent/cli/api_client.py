"""The control plane's API, as commands use it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import click
import httpcore

from fairlead_agent.cli.errors import CliError, UnreachableError

#: Written by `fairlead up` in its state folder, and by hand for other fleets.
CLIENT_FILE = "client.json"
USER_FILE = Path("~/.config/fairlead") / CLIENT_FILE
CONNECT_S = 5.0

_UNREACHABLE = (httpcore.ConnectError, httpcore.ConnectTimeout)
_BROKEN = (httpcore.NetworkError, httpcore.ProtocolError)


class Answer:
    """An answer whose body is still on its way."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status = response.status

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        wanted = name.lower().encode()
        found = (value for key, value in self._response.headers if key.lower() == wanted)
        return next(found, b"").decode(errors="replace")

    def body(self) -> bytes:
        """The whole body."""
        return self._response.read()

    def lines(self) -> Iterator[str]:
        """The body line by line, as the lines come."""
        rest = b""
        for chunk in self._response.iter_stream():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A control plane's address and a token for it. ``source`` says where the token is from."""

    url: str
    token: str
    source: str = ""

    def __repr__(self) -> str:
        return f"ApiClient({self.url})"

    def get(self, path: str, timeout_s: float = 60.0) -> Any:
        """GET a JSON answer."""
        return self.call("GET", path, timeout_s=timeout_s)

    def call(self, method: str, path: str, body: Any = None, timeout_s: float = 60.0) -> Any:
        """Send JSON and return the JSON answer.

        Raises:
            CliError: the control plane cannot be reached, or answers with an error; its words are passed on.
        """
        with self.open(method, path, body, timeout_s) as answer:
            text = answer.body()
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise CliError(f"what answers at {self.url} is no Fairlead control plane: it sent no JSON") from None

    @contextmanager
    def open(self, method: str, path: str, body: Any = None, timeout_s: float = 300.0) -> Generator[Answer]:
        """Send JSON; the answer's body can be read inside the ``with``.

        Raises:
            CliError: as for :meth:`call`, also while the body is read.
        """
        request = self._request(body, timeout_s)
        try:
            with httpcore.ConnectionPool() as pool, pool.stream(method, self._address(path), **request) as response:
                answer = Answer(response)
                if answer.status >= 400:
                    raise CliError(self._detail(answer.status, answer.body()))
                yield answer
        except _UNREACHABLE as error:
            raise UnreachableError(
                f"no control plane answers at {self.url} ({_reason(error)}); is the fleet up?"
            ) from None
        except httpcore.TimeoutException:
            raise CliError(f"{self.url}: no answer within {timeout_s:g} s") from None
        except _BROKEN as error:
            raise CliError(f"{self.url}: the connection broke off ({_reason(error)})") from None

    def _address(self, path: str) -> str:
        return self.url.rstrip("/") + path

    def _request(self, body: Any, timeout_s: float) -> dict[str, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        headers = [
            ("authorization", f"Bearer {self.token}"),
            ("content-length", str(len(content))),
            ("content-type", "application/json"),
            ("host", urlsplit(self.url).netloc),
        ]
        timeouts = {"connect": CONNECT_S, "read": timeout_s, "write": 30.0, "pool": 5.0}
        return {"headers": headers, "content": content, "extensions": {"timeout": timeouts}}

    def _detail(self, status: int, text: bytes) -> str:
        said = _said(text) or f"{self.url} answered {status}; is it a Fairlead control plane?"
        if status == 401:
            return f"{self.url} does not accept the token{f' of {self.source}' if self.source else ''}: {said}"
        return said


def _said(text: bytes) -> str:
    try:
        answer = json.loads(text)
        return str(answer["error"]["message"] if "error" in answer else answer["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


def _reason(error: Exception) -> str:
    text = str(error).lower()
    known = {"refused": "connection refused", "not known": "unknown host", "timed out": "no reply"}
    return next((words for part, words in known.items() if part in text), str(error) or type(error).__name__)


def workload_path(name: str, below: str = "") -> str:
    """The API's path of a workload."""
    return f"/api/v1/workloads/{quote(name, safe='')}{below}"


def find_client(url: str | None, token: str | None) -> ApiClient:
    """The control plane named by options, by FAIRLEAD_URL and FAIRLEAD_TOKEN, or by a client file.

    Raises:
        CliError: none is known, or the address is none.
    """
    source = "--token" if token else "FAIRLEAD_TOKEN"
    url, token = url or os.environ.get("FAIRLEAD_URL"), token or os.environ.get("FAIRLEAD_TOKEN")
    for path in client_files():
        if url and token:
            break
        known = _read(path)
        if not token and known.get("token"):
            token, source = known["token"], str(path)
        url = url or known.get("url")
    if not url or not token:
        raise CliError(
            "no control plane is known here: start one with `fairlead up`, or set FAIRLEAD_URL and FAIRLEAD_TOKEN"
        )
    _check(url, token, source)
    return ApiClient(url, token, source)


def client_files() -> tuple[Path, ...]:
    """Where addresses and tokens are looked for."""
    state = Path(os.environ.get("FAIRLEAD_STATE_DIR", ".fairlead"))
    return state / CLIENT_FILE, USER_FILE.expanduser()


def _check(url: str, token: str, source: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise CliError(f"the control plane's address {url!r} is none; accepted is e.g. http://127.0.0.1:8470")
    if not token.isascii() or not token.isprintable():
        raise CliError(f"the token of {source} holds characters that no token has")


def _read(path: Path) -> dict[str, str]:
    try:
        values: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CliError(f"{path}: {error}") from None
    return cast(dict[str, str], values) if isinstance(values, dict) else {}


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options ``--url`` and ``--token``; the command gets ``client``."""

    @click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
    @click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
    @functools.wraps(command)
    def wrapped(*args: Any, url: str | None, token: str | None, **kwargs: Any) -> Any:
        return command(*args, client=find_client(url, token), **kwargs)

    return wrapped

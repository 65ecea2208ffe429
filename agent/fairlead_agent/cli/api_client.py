"""The control plane's API, as commands use it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import httpcore

from fairlead_agent.cli.errors import CliError

#: Written by `fairlead up` in the folder it runs in, and by hand for other fleets.
CLIENT_FILES = (Path(".fairlead/client.json"), Path("~/.config/fairlead/client.json"))


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A control plane's address and a token for it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"ApiClient({self.url})"

    def get(self, path: str) -> Any:
        """GET a JSON answer."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None, timeout_s: float = 60.0) -> Any:
        """Send JSON and return the JSON answer.

        Raises:
            CliError: the control plane cannot be reached, or answers with an error; its words are passed on.
        """
        with self._open(method, path, body, timeout_s) as (response, _):
            text = response.read()
            if response.status >= 400:
                raise CliError(_detail(response.status, text))
            return json.loads(text) if text else None

    def lines(self, method: str, path: str, body: Any = None, timeout_s: float = 300.0) -> Iterator[str]:
        """Send JSON and yield the lines of a streamed answer."""
        with self._open(method, path, body, timeout_s) as (response, _):
            if response.status >= 400:
                raise CliError(_detail(response.status, response.read()))
            rest = b""
            for chunk in response.iter_stream():
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace").rstrip("\r") for line in whole)

    def _open(self, method: str, path: str, body: Any, timeout_s: float) -> _Opened:
        return _Opened(self, method, path, body, timeout_s)


class _Opened:
    """One request over a connection of its own."""

    def __init__(self, client: ApiClient, method: str, path: str, body: Any, timeout_s: float) -> None:
        self._client, self._pool = client, httpcore.ConnectionPool()
        content = b"" if body is None else json.dumps(body).encode()
        headers = [("authorization", f"Bearer {client.token}"), ("content-length", str(len(content)))]
        self._request = httpcore.Request(
            method,
            client.url.rstrip("/") + path,
            headers=[
                *headers,
                ("content-type", "application/json"),
                ("host", client.url.split("//", 1)[-1].split("/")[0]),
            ],
            content=content,
            extensions={"timeout": {"connect": 5.0, "read": timeout_s, "write": 30.0, "pool": 5.0}},
        )

    def __enter__(self) -> tuple[httpcore.Response, httpcore.ConnectionPool]:
        try:
            return self._pool.handle_request(self._request), self._pool
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            self._pool.close()
            raise CliError(f"control plane at {self._client.url}: {type(error).__name__} {error}") from None

    def __exit__(self, *_: object) -> None:
        self._pool.close()


def _detail(status: int, text: bytes) -> str:
    try:
        answer = json.loads(text)
        if "error" in answer:
            return str(answer["error"]["message"])
        return str(answer["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the control plane answered {status}"


def find_client(url: str | None, token: str | None) -> ApiClient:
    """The control plane named by options, by FAIRLEAD_URL and FAIRLEAD_TOKEN, or by a client file."""
    url, token = url or os.environ.get("FAIRLEAD_URL"), token or os.environ.get("FAIRLEAD_TOKEN")
    for path in CLIENT_FILES:
        if url is not None and token is not None:
            break
        known = _read(path.expanduser())
        url, token = url or known.get("url"), token or known.get("token")
    if url is None or token is None:
        raise CliError(
            "no control plane is known: start one with `fairlead up`, or set FAIRLEAD_URL and FAIRLEAD_TOKEN"
        )
    return ApiClient(url, token)


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
    import functools

    @click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
    @click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
    @functools.wraps(command)
    def wrapped(*args: Any, url: str | None, token: str | None, **kwargs: Any) -> Any:
        return command(*args, client=find_client(url, token), **kwargs)

    return wrapped

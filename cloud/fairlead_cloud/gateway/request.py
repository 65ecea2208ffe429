"""A client's request, read from ASGI with a bound on its body."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.types import Receive, Scope

from fairlead_cloud.gateway.answer import IDEMPOTENT, Ask

#: Larger request bodies are refused.
MAX_BODY_BYTES = 64 << 20

#: The client's credentials stay here, and only the gateway says for which epoch it asks.
_KEPT_BACK = frozenset({"authorization", "cookie", "fairlead-epoch", "fairlead-refused", "fairlead-cut"})


class ClientGone(ConnectionError):
    """The client closed its connection."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body.

    Raises:
        HTTPException: 413, it is larger than :data:`MAX_BODY_BYTES`.
        ClientGone: it never came.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    read = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        read += message.get("body", b"")
        if len(read) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(read)


def ask_of(scope: Scope, path: str, body: bytes, *, repeatable: bool | None = None) -> Ask:
    """The request as it goes to an instance.

    Args:
        scope: ASGI's.
        path: of the request at the instance, without the query.
        body: its body.
        repeatable: whether doing it twice does no more than once; default: by method and ``Idempotency-Key``.
    """
    query = scope.get("query_string", b"").decode("latin-1")
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in scope["headers"]
        if name.decode("latin-1") not in _KEPT_BACK
    )
    if repeatable is None:
        repeatable = scope["method"] in IDEMPOTENT or header(scope, b"idempotency-key") is not None
    return Ask(scope["method"], f"{path}?{query}" if query else path, headers, body, repeatable)


def _too_large() -> HTTPException:
    return HTTPException(413, f"body: at most {MAX_BODY_BYTES} bytes are accepted")

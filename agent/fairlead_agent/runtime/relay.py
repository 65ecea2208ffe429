"""HTTP from the agent to a worker's data socket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import httpcore

Headers = Sequence[tuple[str, str]]

#: Headers of one hop (RFC 9110, section 7.6.1), which a relay does not pass on.
_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade")
)  # fmt: skip


class RelayError(ConnectionError):
    """The worker could not be reached, or broke off."""


class RelayedBody:
    """The answer's body, piece by piece; ``aclose`` when it is not read to the end."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, response: httpcore.Response) -> None:
        self._pool = pool
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        import httpcore

        try:
            async for piece in self._response.aiter_stream():
                yield piece
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise RelayError(f"the worker broke off: {error or type(error).__name__}") from error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection to the worker."""
        await self._response.aclose()
        await self._pool.aclose()


class RelayedResponse(NamedTuple):
    """What :func:`forward` returns."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: RelayedBody


async def forward(
    socket_path: Path | str,
    method: str,
    path: str,
    headers: Headers = (),
    body: bytes | AsyncIterable[bytes] = b"",
    *,
    connect_timeout_s: float = 5.0,
    read_timeout_s: float | None = None,
) -> RelayedResponse:
    """Send one request to the data socket of a worker on this device.

    Args:
        socket_path: the worker's Unix socket.
        method: HTTP method.
        path: path and query, beginning with '/'.
        headers: those of one hop are left out; Host is set here.
        body: all at once or as a stream.
        connect_timeout_s: for the connection.
        read_timeout_s: longest silence of the worker; None: as long as it takes.

    Raises:
        RelayError: the worker cannot be reached, or broke off before its answer began.
    """
    import httpcore

    pool = httpcore.AsyncConnectionPool(uds=str(socket_path), max_connections=1)
    kept = [(name, value) for name, value in headers if name.lower() not in _HOP and name.lower() != "host"]
    request = httpcore.Request(
        method,
        httpcore.URL(scheme="http", host="worker", target=path.encode()),
        headers=_framed([("Host", "worker"), *kept], body),
        content=body,
        extensions={"timeout": {"connect": connect_timeout_s, "read": read_timeout_s}},
    )
    try:
        response = await pool.handle_async_request(request)
    except BaseException as error:
        await pool.aclose()
        if isinstance(error, httpcore.NetworkError | httpcore.ProtocolError | httpcore.TimeoutException):
            raise RelayError(f"{socket_path}: {error or type(error).__name__}") from error
        raise
    decoded = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
    return RelayedResponse(response.status, decoded, RelayedBody(pool, response))


def _framed(headers: list[tuple[str, str]], body: bytes | AsyncIterable[bytes]) -> list[tuple[str, str]]:
    if any(name.lower() == "content-length" for name, _ in headers):
        return headers
    if isinstance(body, bytes):
        return [*headers, ("Content-Length", str(len(body)))] if body else headers
    return [*headers, ("Transfer-Encoding", "chunked")]

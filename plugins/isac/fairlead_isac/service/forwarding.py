"""Requests of another cell: what is asked here is asked there, and what it streams is streamed on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fairlead_agent.plugin import Peer

from ..errors import NotFound
from .handing import headers_of

#: To connect; a stream may be silent for as long as its first cell lets it, which says something each second.
CONNECT_S, SILENT_S = 2.0, 15.0


async def forward(request: Request, peer: Peer) -> Response:
    """The answer of another instance to the same method and path.

    Raises:
        NotFound: it does not answer.
    """
    http = httpx.AsyncClient(timeout=httpx.Timeout(SILENT_S, connect=CONNECT_S))
    try:
        sent = http.build_request(request.method, f"{peer.address}{request.url.path}", headers=headers_of(peer))
        answer = await http.send(sent, stream=True)
    except httpx.HTTPError as error:
        await http.aclose()
        raise NotFound(f"{request.url.path}: its cell does not answer: {type(error).__name__}") from None
    kind = answer.headers.get("content-type", "application/json")
    return StreamingResponse(_passed(http, answer), answer.status_code, media_type=kind)


async def _passed(http: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    """What comes, until it ends or its cell does."""
    try:
        async for part in answer.aiter_raw():
            yield part
    except httpx.HTTPError as error:
        yield f'event: end\ndata: {{"state": "lost", "reason": "{type(error).__name__}"}}\n\n'.encode()
    finally:
        await answer.aclose()
        await http.aclose()

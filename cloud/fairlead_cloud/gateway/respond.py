"""Turns an accepted answer into the client's response."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from fairlead_cloud.gateway.answer import NODE_HEADER, Ask, InstanceFailed, passed_on
from fairlead_cloud.gateway.forward import Forwarded

#: Larger request bodies are refused.
MAX_BODY_BYTES = 64 << 20


async def ask_of(request: Request, path: str, body: bytes | None = None) -> Ask:
    """The request as it goes to an instance: the client's credentials stay here."""
    headers = tuple((name, value) for name, value in request.headers.items() if name not in _KEPT_BACK)
    query = f"?{request.url.query}" if request.url.query else ""
    return Ask(request.method, path + query, headers, await request.body() if body is None else body)


_KEPT_BACK = frozenset({"authorization", "cookie", "fairlead-epoch"})


def respond(forwarded: Forwarded) -> Response:
    """The response, with the node that answered and the number of instances that were asked."""
    answer, target = forwarded.answer, forwarded.target
    headers = [(name, value) for name, value in passed_on(answer.headers) if name.lower() != NODE_HEADER]
    headers += [(NODE_HEADER, target.node), ("fairlead-attempts", str(forwarded.attempts))]
    response = (
        StreamingResponse(_events(forwarded), answer.status)
        if forwarded.rest is not None
        else Response(forwarded.first, answer.status)
    )
    response.raw_headers = [
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
        *((name, value) for name, value in response.raw_headers if name == b"content-length"),
    ]
    return response


async def _events(forwarded: Forwarded) -> AsyncIterator[bytes]:
    assert forwarded.rest is not None
    yield forwarded.first
    try:
        async for chunk in forwarded.rest:
            yield chunk
    except InstanceFailed as error:
        if not forwarded.answer.streams:
            raise
        # Something was passed on already: say so instead of starting over, which could contradict it.
        yield _broken(forwarded, error)


def _broken(forwarded: Forwarded, error: InstanceFailed) -> bytes:
    message = f"the replica on {forwarded.target.node} was lost while it answered ({error}); what came before stands"
    body = {"error": {"message": message, "type": "replica_lost", "code": "replica_lost", "param": None}}
    return f"data: {json.dumps(body)}\n\n".encode()

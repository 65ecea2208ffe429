"""Sends an accepted answer to the client."""

from __future__ import annotations

import json

from starlette.types import Send

from fairlead_cloud.gateway.answer import NODE_HEADER, InstanceFailed, passed_on
from fairlead_cloud.gateway.forward import Forwarded

REPLICA_HEADER = "fairlead-replica"

RawHeaders = list[tuple[bytes, bytes]]


async def send_answer(forwarded: Forwarded, method: str, send: Send) -> None:
    """Pass the answer on, with the node that gave it and the number of instances that were asked.

    Raises:
        InstanceFailed: it broke off in the middle; the client's connection must be broken too.
    """
    answer = forwarded.exchange.answer
    headers = _headers(forwarded, method)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": forwarded.first, "more_body": forwarded.more})
    if forwarded.more:
        await _send_rest(forwarded, send)


async def _send_rest(forwarded: Forwarded, send: Send) -> None:
    exchange = forwarded.exchange
    events = (exchange.answer.header("content-type") or "").startswith("text/event-stream")
    last = b""
    try:
        while (chunk := await exchange.next()) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except InstanceFailed as error:
        if not events:
            raise
        # Something was passed on already: say so instead of starting over, which could contradict it.
        last = _broken(forwarded, error)
    await send({"type": "http.response.body", "body": last, "more_body": False})


def _headers(forwarded: Forwarded, method: str) -> RawHeaders:
    answer = forwarded.exchange.answer
    kept = [(name, value) for name, value in passed_on(answer.headers) if name.lower() not in _OWN]
    target = forwarded.exchange.target
    own = [
        (NODE_HEADER, target.node),
        (REPLICA_HEADER, str(target.key.replica)),
        ("fairlead-attempts", str(forwarded.attempts)),
    ]
    announced = answer.header("content-length")
    if forwarded.more or method == "HEAD" or answer.status in (204, 304):
        own += [("content-length", announced)] if announced is not None else []
    else:
        own.append(("content-length", str(len(forwarded.first))))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*kept, *own)]


_OWN = frozenset({NODE_HEADER, REPLICA_HEADER, "fairlead-attempts"})


def _broken(forwarded: Forwarded, error: InstanceFailed) -> bytes:
    node = forwarded.exchange.target.node
    message = f"the replica on {node} was lost while it answered ({error}); what came before stands"
    body = {"error": {"message": message, "type": "replica_lost", "code": "replica_lost", "param": None}}
    # The empty line first: the event that was under way may have been cut in its middle.
    return f"\n\ndata: {json.dumps(body)}\n\n".encode()

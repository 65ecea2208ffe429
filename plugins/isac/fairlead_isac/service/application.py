"""The ASGI application: ask for sensing, stream estimates, read decisions and records, control."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fairlead_agent.plugin import Peer

from ..collaboration.letters import Letter, read_letter
from ..errors import IsacError
from ..kpi.control import Control, read_control
from ..requests.request import SensingRequest, read_request
from . import errors
from .book import Book, Entry
from .forwarding import forward
from .handing import Placed
from .partners import PATH

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_BODY_BYTES, MOST_LETTER_BYTES = 64 << 10, 512 << 10


class Backend(Protocol):
    """What the routes ask."""

    book: Book

    def place(self, request: SensingRequest) -> Placed:
        """Have a request sensed here or by the cell that does it best."""
        ...

    def requests(self, here: bool) -> dict[str, Any]:
        """Requests of this cell, or of all cells."""
        ...

    def elsewhere(self, name: str) -> Peer | None:
        """The instance whose request it is; None: this one."""
        ...

    def cancel(self, name: str) -> Entry:
        """End a request."""
        ...

    def control(self, control: Control) -> dict[str, Any]:
        """Set what is named; returns what is in force."""
        ...

    def status(self) -> dict[str, Any]:
        """How the cell stands."""
        ...

    def decisions(self, last: int, layer: str | None) -> list[dict[str, Any]]:
        """The latest decisions, newest last."""
        ...

    def records(self, last: int) -> dict[str, Any]:
        """Records of the latest periods."""
        ...

    def hear(self, letter: Letter) -> str:
        """Take another cell's letter; returns why it was dropped, empty: it was not."""
        ...

    def refuse(self) -> None:
        """Count a letter that makes no sense."""
        ...


class Application:
    """The routes of an instance."""

    def __init__(self, backend: Backend, registry: CollectorRegistry | None = None) -> None:
        self._backend = backend
        self._registry = CollectorRegistry() if registry is None else registry

    def asgi(self) -> Starlette:
        """Return the ASGI application."""
        one = "/sensing/requests/{name}"
        routes = [
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/status", self.status),
            Route("/decisions", self.decisions),
            Route("/kpi", self.kpi),
            Route("/control", self.control, methods=["GET", "POST"]),
            Route(PATH, self.cells, methods=["POST"]),
            Route("/sensing/requests", self.requests, methods=["GET"]),
            Route("/sensing/requests", self.ask, methods=["POST"]),
            Route(one, self.request, methods=["GET"]),
            Route(one, self.cancel, methods=["DELETE"]),
            Route(f"{one}/estimates", self.estimates),
        ]
        handlers: Any = {
            IsacError: errors.answer,
            HTTPException: errors.answer,
            Exception: errors.unexpected,
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        """GET /health: 200 while the radio is there, 503 where it is not."""
        status = self._backend.status()
        there = status["radio"]["state"] == "there"
        body = {"status": "ok" if there else "degraded", "reason": status["radio"]["reason"]}
        return JSONResponse(body, 200 if there else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        text = await asyncio.to_thread(generate_latest, self._registry)
        return Response(text, media_type=METRICS_TYPE)

    async def status(self, request: Request) -> Response:
        """GET /status: radio, stage, rates, sensing share, deadline misses."""
        return JSONResponse(self._backend.status())

    async def decisions(self, request: Request) -> Response:
        """GET /decisions?last=N&layer=NAME, newest last."""
        last, layer = _count(request, "last", 100), request.query_params.get("layer")
        return JSONResponse({"decisions": self._backend.decisions(last, layer)})

    async def kpi(self, request: Request) -> Response:
        """GET /kpi?last=N: records in the manner of E2SM-KPM."""
        return JSONResponse(self._backend.records(_count(request, "last", 10)))

    async def control(self, request: Request) -> Response:
        """POST /control: set what is named. GET: what is in force."""
        if request.method == "GET":
            return JSONResponse(self._backend.status()["control"])
        control = read_control(await _body(request))
        return JSONResponse({"outcome": "acknowledged", "control": self._backend.control(control)})

    async def cells(self, request: Request) -> Response:
        """POST /cells/messages: another cell's letter. 202; 400 where it makes no sense."""
        raw = await _raw(request, MOST_LETTER_BYTES)
        try:
            letter = read_letter(raw)
        except IsacError:
            self._backend.refuse()
            raise
        dropped = self._backend.hear(letter)
        return JSONResponse({"outcome": "dropped" if dropped else "taken", "reason": dropped}, 202)

    async def requests(self, request: Request) -> Response:
        """GET /sensing/requests, of all cells; ?cells=here: of this one."""
        here = request.query_params.get("cells") == "here"
        return JSONResponse(await asyncio.to_thread(self._backend.requests, here))

    async def ask(self, request: Request) -> Response:
        """POST /sensing/requests: 201 where it is met, 409 with a reason for each requirement that is not."""
        placed = await asyncio.to_thread(self._backend.place, read_request(await _body(request)))
        return JSONResponse(placed.body, 201 if placed.met else 409)

    async def request(self, request: Request) -> Response:
        """GET /sensing/requests/ID; of another cell it is asked for."""
        if (peer := self._backend.elsewhere(request.path_params["name"])) is not None:
            return await forward(request, peer)
        return JSONResponse(self._backend.book.get(request.path_params["name"]).body())

    async def cancel(self, request: Request) -> Response:
        """DELETE /sensing/requests/ID."""
        if (peer := self._backend.elsewhere(request.path_params["name"])) is not None:
            return await forward(request, peer)
        return JSONResponse(self._backend.cancel(request.path_params["name"]).body())

    async def estimates(self, request: Request) -> Response:
        """GET /sensing/requests/ID/estimates: server-sent events, until the request ends."""
        name = request.path_params["name"]
        if (peer := self._backend.elsewhere(name)) is not None:
            return await forward(request, peer)
        return StreamingResponse(self._events(name, self._backend.book.follow(name)), media_type="text/event-stream")

    async def _events(self, name: str, found: Iterator[Any]) -> AsyncIterator[str]:
        ended = object()
        try:
            while True:
                estimate = await asyncio.to_thread(next, found, ended)
                if estimate is ended:
                    break
                # A comment keeps proxies from taking silence for an end.
                yield ": nothing yet\n\n" if estimate is None else _event("estimate", estimate.body())
            entry = self._backend.book.get(name)
            yield _event("end", {"state": entry.state, "reason": entry.reason})
        finally:
            await asyncio.to_thread(found.close)  # type: ignore[attr-defined]


def _event(kind: str, body: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(body)}\n\n"


async def _raw(request: Request, most: int) -> bytes:
    raw = await request.body()
    if len(raw) > most:
        raise IsacError(f"body of {len(raw)} bytes; accepted: at most {most}")
    return raw


async def _body(request: Request) -> Any:
    raw = await _raw(request, MOST_BODY_BYTES)
    try:
        return json.loads(raw or b"null")
    except (ValueError, RecursionError) as error:
        raise IsacError(f"body: no JSON: {error}; accepted: a JSON object") from None


def _count(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 100_000:
        raise IsacError(f"{name} = {text[:50]!r}; accepted: a whole number from 1 to 100000")
    return int(text)

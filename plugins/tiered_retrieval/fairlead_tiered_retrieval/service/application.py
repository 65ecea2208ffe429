"""The ASGI application: collections over HTTP, in JSON and in Arrow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import TieredRetrievalError
from ..tiers.region import TierError
from . import arrow, bodies, errors
from .backend import Answer, Backend
from .openapi import document

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_BODY_BYTES = 256 << 20
#: Says that a request comes from another instance, for what this one itself holds.
SHARD_HEADER = "fairlead-shard"
#: Its values: answer for what you hold; apply, and pass on to the other replicas of your shard.
OWN, LEAD = "own", "lead"
#: Bodies above this are read in a thread: they hold up other requests otherwise.
LARGE_BYTES = 64 << 10
Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """The routes.

    Args:
        backend: answers clients.
        own: answers other instances, for what this one holds; default: the same.
        registry: of metrics.
        accepting: whether new requests are taken.
        most_in_flight: more at the same time are refused (429).
    """

    def __init__(
        self,
        backend: Backend,
        *,
        own: Backend | None = None,
        registry: CollectorRegistry | None = None,
        accepting: Callable[[], bool] = lambda: True,
        most_in_flight: int = 64,
    ) -> None:
        self._backend, self._own = backend, own or backend
        self._registry = CollectorRegistry() if registry is None else registry
        self._accepting, self._most = accepting, most_in_flight
        #: Requests at work.
        self.in_flight = 0
        self.refused = 0

    def asgi(self, lifespan: Any = None) -> Starlette:
        """Return the ASGI application; `lifespan` as Starlette has it."""
        below = "/collections/{name}"
        posts = ("upsert", "delete", "get", "scan", "search", "recall", "calibrate", "move", "snapshot")
        posts += ("restore", "maintain", "deletions")
        routes = [
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            Route("/stats", self._guarded(self.stats)),
            Route("/tiers", self._guarded(self.tiers)),
            Route("/collections", self._guarded(self.names)),
            Route(below, self._guarded(self.info), methods=["GET"]),
            Route(below, self._guarded(self.create), methods=["PUT"]),
            Route(below, self._guarded(self.drop), methods=["DELETE"]),
            *(Route(f"{below}/{name}", self._guarded(getattr(self, name)), methods=["POST"]) for name in posts),
        ]
        handlers: Any = {
            TieredRetrievalError: errors.answer,
            TierError: errors.answer,
            HTTPException: errors.answer,
            Exception: errors.unexpected,
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)

    async def health(self, request: Request) -> Response:
        """GET /health: 200 while requests are taken."""
        taking = self._accepting()
        body = {"status": "ok" if taking else "draining", "in_flight": self.in_flight}
        return JSONResponse(body, 200 if taking else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        text = await asyncio.to_thread(generate_latest, self._registry)
        return Response(text, media_type=METRICS_TYPE)

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return JSONResponse(document())

    async def stats(self, request: Request) -> Response:
        """GET /stats."""
        return JSONResponse(await self._of(request).stats())

    async def tiers(self, request: Request) -> Response:
        """GET /tiers."""
        return JSONResponse(await self._of(request).tiers())

    async def names(self, request: Request) -> Response:
        """GET /collections."""
        backend = self._of(request)
        return JSONResponse({"collections": [await backend.info(name) for name in await backend.names()]})

    async def info(self, request: Request) -> Response:
        """GET /collections/NAME."""
        return JSONResponse(await self._of(request).info(_name(request)))

    async def create(self, request: Request) -> Response:
        """PUT /collections/NAME."""
        return JSONResponse(await self._of(request).create(*await self._asked(request, bodies.CreateCollection)))

    async def drop(self, request: Request) -> Response:
        """DELETE /collections/NAME."""
        return JSONResponse(await self._of(request).drop(_name(request)))

    async def upsert(self, request: Request) -> Response:
        """POST /collections/NAME/upsert, in JSON or Arrow."""
        asked = await self._asked(request, bodies.Upsert, arrow.upsert_fields)
        return JSONResponse(await self._written(request, "upsert", *asked))

    async def delete(self, request: Request) -> Response:
        """POST /collections/NAME/delete."""
        return JSONResponse(await self._written(request, "delete", *await self._asked(request, bodies.Delete)))

    async def get(self, request: Request) -> Response:
        """POST /collections/NAME/get."""
        return JSONResponse(await self._of(request).get(*await self._asked(request, bodies.Get)))

    async def scan(self, request: Request) -> Response:
        """POST /collections/NAME/scan: of what this instance holds."""
        return JSONResponse(await self._own.scan(*await self._asked(request, bodies.Scan)))

    async def search(self, request: Request) -> Response:
        """POST /collections/NAME/search, in JSON or Arrow."""
        asked = await self._asked(request, bodies.Search, arrow.query_fields)
        answer = await self._of(request).search(*asked)
        if arrow.CONTENT_TYPE in request.headers.get("accept", ""):
            return Response(await asyncio.to_thread(in_arrow, answer), media_type=arrow.CONTENT_TYPE)
        return JSONResponse({"results": answer.rows, **answer.about()})

    async def recall(self, request: Request) -> Response:
        """POST /collections/NAME/recall."""
        return JSONResponse(await self._of(request).recall(*await self._asked(request, bodies.Recall)))

    async def calibrate(self, request: Request) -> Response:
        """POST /collections/NAME/calibrate."""
        return JSONResponse(await self._of(request).calibrate(*await self._asked(request, bodies.Calibrate)))

    async def move(self, request: Request) -> Response:
        """POST /collections/NAME/move."""
        return JSONResponse(await self._of(request).move(*await self._asked(request, bodies.Move)))

    async def snapshot(self, request: Request) -> Response:
        """POST /collections/NAME/snapshot."""
        return JSONResponse(await self._of(request).snapshot(*await self._asked(request, bodies.Snapshot)))

    async def restore(self, request: Request) -> Response:
        """POST /collections/NAME/restore."""
        return JSONResponse(await self._of(request).restore(*await self._asked(request, bodies.Restore)))

    async def deletions(self, request: Request) -> Response:
        """POST /collections/NAME/deletions: of what this instance held."""
        return JSONResponse(await self._own.deletions(*await self._asked(request, bodies.Deletions)))

    async def maintain(self, request: Request) -> Response:
        """POST /collections/NAME/maintain."""
        return JSONResponse(await self._of(request).maintain(*await self._asked(request, bodies.Maintain)))

    async def _written(self, request: Request, what: str, name: str, body: bodies.Body) -> dict[str, Any]:
        if request.headers.get(SHARD_HEADER) == LEAD:
            return await self._backend.lead(name, what, body)
        return await getattr(self._of(request), what)(name, body)

    def _of(self, request: Request) -> Backend:
        return self._own if request.headers.get(SHARD_HEADER) else self._backend

    def _guarded(self, handler: Handler) -> Handler:
        """Count a request, and refuse it where too many are at work."""

        async def guarded(request: Request) -> Response:
            if not self._accepting():
                raise errors.ApiError(503, "this instance is draining", kind="draining")
            if self.in_flight >= self._most:
                self.refused += 1
                raise errors.ApiError(429, f"{self.in_flight} requests are at work; accepted: {self._most}")
            self.in_flight += 1
            try:
                return await handler(request)
            finally:
                self.in_flight -= 1

        return guarded

    async def _asked(
        self, request: Request, model: type[bodies.B], of_table: Callable[[Any], dict[str, Any]] | None = None
    ) -> tuple[str, bodies.B]:
        body = await _body(request)

        def parsed() -> bodies.B:
            if of_table is None or arrow.CONTENT_TYPE not in request.headers.get("content-type", ""):
                return bodies.parse(model, _json(body))
            return bodies.parse(model, {**_options(request), **of_table(arrow.read_table(body))})

        return _name(request), await asyncio.to_thread(parsed) if len(body) > LARGE_BYTES else parsed()


def in_arrow(answer: Answer) -> bytes:
    """Return an answer as a stream: a row a hit, with the number of its query."""
    hits = [(number, hit) for number, row in enumerate(answer.rows) for hit in row]
    pyarrow = arrow.installed()
    ids = arrow.id_column([hit["id"] for _, hit in hits])
    columns: dict[str, Any] = {
        "query": pyarrow.array([number for number, _ in hits], pyarrow.int32()),
        "id": ids,
        "distance": pyarrow.array([hit["distance"] for _, hit in hits], pyarrow.float32()),
    }
    if any("text" in hit for _, hit in hits):
        columns["text"] = pyarrow.array([hit.get("text") for _, hit in hits], pyarrow.string())
    if any("metadata" in hit for _, hit in hits):
        columns["metadata"] = arrow.json_column([hit.get("metadata") for _, hit in hits])
    if hits and "vector" in hits[0][1]:
        columns["vector"] = pyarrow.array([hit["vector"] for _, hit in hits])
    return arrow.write_table(columns, {"fairlead": json.dumps(answer.about())})


def _name(request: Request) -> str:
    return request.path_params["name"]


async def _body(request: Request) -> bytes:
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BODY_BYTES:
            raise errors.ApiError(413, f"body: accepted: at most {MAX_BODY_BYTES} bytes")
    return bytes(read)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError as error:
        raise errors.ApiError(400, f"body: no JSON ({error}); accepted: an object in JSON", field="body") from None


#: Options that are no texts stand as JSON in the query string of a request in Arrow.
_TEXT_OPTIONS = frozenset({"mode"})


def _options(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if name in _TEXT_OPTIONS:
            found[name] = value
            continue
        try:
            found[name] = json.loads(value)
        except ValueError:
            raise errors.bad_field(name, value, "JSON") from None
    return found

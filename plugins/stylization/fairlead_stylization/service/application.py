"""The ASGI application: POST pictures, get one back; a page to try it; metrics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import StylizationError
from . import errors
from .answers import Answer
from .errors import Refused
from .form import read_form
from .generating import Generator
from .generation import read_generation
from .leaving import left
from .room import Room
from .stylist import Stylist
from .trying import page

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class _Work:
    """A request's work.

    Attributes:
        size: of the memory that it takes.
        done: does it, and is told whether nobody waits any more.
    """

    size: int
    done: Callable[[Callable[[], bool]], Answer]


class Application:
    """The routes of an instance.

    Args:
        stylist: answers.
        generator: answers where something is to be completed or enlarged; None: nothing is.
        max_in_flight, max_waiting: pictures at work, and requests that wait for that.
        work_bytes: memory that a picture of so many pixels takes while it is at work, and of a search for so many
            results (0: for none).
        generation_bytes: the same of what is completed or enlarged.
        room_bytes: for all pictures at work; what would not fit beside the others waits. None: no bound.
        max_bytes, max_diverse: of a request.
        registry: of metrics.
        accepting: False while the instance drains.
        spent: is told the seconds of each answer.
    """

    def __init__(
        self,
        stylist: Stylist,
        generator: Generator | None = None,
        *,
        max_in_flight: int = 2,
        max_waiting: int = 32,
        work_bytes: Callable[[int, int], int] = lambda pixels, results: 0,
        generation_bytes: Callable[[int, int], int] = lambda pixels, results: 0,
        room_bytes: int | None = None,
        max_bytes: int = 64 << 20,
        max_diverse: int = 8,
        registry: CollectorRegistry | None = None,
        accepting: Callable[[], bool] = lambda: True,
        spent: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._stylist, self._generator, self._accepting, self._spent = stylist, generator, accepting, spent
        self._max_bytes, self._max_diverse = max_bytes, max_diverse
        self._most = max_in_flight + max_waiting
        self._work_bytes, self._generation_bytes = work_bytes, generation_bytes
        self._room = Room(max_in_flight, room_bytes)
        self._here = 0
        self._registry = CollectorRegistry() if registry is None else registry
        self._count(self._registry)

    def _count(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("stylization_requests", "Requests by how they ended.", ["result"], registry=registry)
        self._pixels = Counter("stylization_pixels", "Pixels that were stylized.", registry=registry)
        self._seconds = Histogram(
            "stylization_seconds", "Seconds of a request's work.", buckets=_SECONDS, registry=registry
        )
        waiting = Gauge("stylization_requests_here", "Requests at work or waiting.", registry=registry)
        waiting.set_function(lambda: self._here)

    def asgi(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/", self.page),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/status", self.status),
            Route("/stylize", self.stylize, methods=["POST"]),
            Route("/generate", self.generate, methods=["POST"]),
        ]
        handlers: Any = {StylizationError: errors.of_stylization, HTTPException: errors.of_http}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def stylize(self, request: Request) -> Response:
        """Stylize a picture."""
        return await self._served(request, "stylize", self._styling)

    async def generate(self, request: Request) -> Response:
        """Fill a picture's hole, colour it or enlarge it."""
        return await self._served(request, "generate", self._generating)

    async def _styling(self, request: Request) -> _Work:
        asked = await read_form(request, self._max_bytes, self._max_diverse)
        pixels = await run_in_threadpool(self._stylist.pixels, asked)
        size = self._work_bytes(pixels, asked.diverse if asked.searched else 0)
        return _Work(size, lambda stopped: self._stylist.answer(asked, stopped))

    async def _generating(self, request: Request) -> _Work:
        generator = self._generator
        if generator is None:
            raise Refused(404, "not_here", "generate: not served here; accepted: stylize")
        asked = await read_generation(request, self._max_bytes, self._max_diverse)
        pixels = await run_in_threadpool(generator.pixels, asked)
        size = self._generation_bytes(pixels, asked.diverse if asked.searched else 0)
        return _Work(size, lambda stopped: generator.answer(asked, stopped))

    async def _served(self, request: Request, name: str, read: Callable[[Request], Awaitable[_Work]]) -> Response:
        if not self._accepting():
            raise Refused(503, "draining", "this instance ends; ask again")
        if self._here >= self._most:
            raise Refused(429, "busy", f"{self._here} requests are here; accepted: at most {self._most}")
        self._here += 1
        result = "error"
        try:
            work = await read(request)
            async with self._room.taken(work.size):
                # Whoever waited and left costs nothing.
                if await request.is_disconnected():
                    result = "gone"
                    return Response(status_code=499)
                async with _leaving(request) as gone:
                    answer = await run_in_threadpool(work.done, gone.is_set)
            result = "good"
            return self._answered(answer, name)
        finally:
            self._here -= 1
            self._requests.labels(result).inc()

    def _answered(self, answer: Answer, name: str) -> Response:
        self._pixels.inc(answer.pixels)
        self._seconds.observe(answer.spent_s)
        self._spent(answer.spent_s)
        headers = {"Server-Timing": f"{name};dur={1000 * answer.spent_s:.1f}"}
        if answer.said:
            headers["Fairlead-Conversions"] = "; ".join(answer.said).encode("ascii", "replace").decode()
        return Response(answer.body, media_type=answer.media_type, headers=headers)

    async def page(self, request: Request) -> Response:
        """A page to try it."""
        return HTMLResponse(page())

    async def health(self, request: Request) -> Response:
        """Whether it serves."""
        good = self._accepting()
        return JSONResponse({"status": "ok" if good else "draining"}, 200 if good else 503)

    async def status(self, request: Request) -> Response:
        """What serves."""
        stylizer = self._stylist.stylizer
        return JSONResponse({"variant": stylizer.variant, "weights": stylizer.weights_digest, "requests": self._here})

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(self._registry), media_type=METRICS_TYPE)


@asynccontextmanager
async def _leaving(request: Request) -> AsyncIterator[threading.Event]:
    """An event that is set when the client has left."""
    gone = threading.Event()

    async def watch() -> None:
        await left(request)
        gone.set()

    watching = asyncio.create_task(watch())
    try:
        yield gone
    finally:
        watching.cancel()

"""The page to try stylization, on this machine: browsers cannot give the gateway a token, this does."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..client import within
from .leaving import unless_left

HOSTS = ("127.0.0.1", "localhost", "[::1]")
#: Of an answer, what the page reads.
_KEPT = ("content-type", "fairlead-conversions", "server-timing", "retry-after")


def page() -> str:
    """The page, as HTML."""
    return (files(__package__) / "page.html").read_text(encoding="utf-8")


class Passing:
    """Passes requests of the page on.

    Args:
        address: of the workload behind the gateway, or of an instance.
        token: that the gateway asks for.
        client: of another transport, for tests.
    """

    def __init__(self, address: str, token: str | None, client: httpx.AsyncClient | None = None) -> None:
        self._address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = client or httpx.AsyncClient(timeout=within())

    def asgi(self) -> Starlette:
        """The ASGI application: the page, and what it asks for. Other sites' pages are not served."""
        passed = (Route(f"/{name}", self.passed, methods=["POST"]) for name in ("stylize", "generate"))
        routes = [Route("/", self.shown), *passed]
        return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))])

    async def shown(self, request: Request) -> Response:
        """The page."""
        return HTMLResponse(page())

    async def passed(self, request: Request) -> Response:
        """Pass a form on, with the token, and its answer back."""
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers.get('host')}":
            return _refused(403, "other_site", f"origin {origin}; accepted: this page's own")
        headers = self._headers | {"content-type": request.headers.get("content-type", "")}
        asking = self._http.post(f"{self._address}{request.url.path}", content=await request.body(), headers=headers)
        try:
            answer = await unless_left(request, asking)
        except httpx.HTTPError as error:
            return _refused(502, "nobody", f"nobody answers: {self._address}: {error or type(error).__name__}")
        if answer is None:
            return Response(status_code=499)
        told = {name: value for name, value in answer.headers.items() if name in _KEPT}
        return Response(answer.content, answer.status_code, told)


def _refused(status: int, kind: str, message: str) -> Response:
    body: dict[str, Any] = {"error": {"kind": kind, "message": message}}
    return JSONResponse(body, status)

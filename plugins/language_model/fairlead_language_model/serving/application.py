"""The ASGI application: OpenAI-compatible completions, health and metrics."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import LanguageModelError
from ..openai import (
    SSE_HEADERS,
    ApiError,
    ChatCompletion,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    Model,
    ModelList,
    invalid_request,
    parse_request,
)
from ..sampling import SamplingParameters
from .answer import Answer
from .chat import ChatReply
from .completions import CompletionReply
from .engine import ServingEngine
from .guides import Guides
from .reply import Reply, Stamp
from .request import Request

Asked = CompletionRequest | ChatCompletionRequest

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_BODY_BYTES = 2 * 2**20
#: Texts beyond this are tokenized off the event loop.
LONG_TEXT = 16_384


class Application:
    """The routes over one engine."""

    def __init__(
        self,
        engine: ServingEngine,
        model_id: str,
        collector: Collector,
        *,
        aliases: tuple[str, ...] = (),
        max_tokens: int = 256,
        registry: CollectorRegistry | None = None,
        recall: Callable[[Request], object] | None = None,
        guided: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Put the engine's metrics into the registry.

        Args:
            engine: what generates.
            model_id: the workload's name.
            collector: reads the engine's metrics.
            aliases: other names by which clients may ask for the model.
            max_tokens: most tokens of an answer where a chat names no number.
            registry: where the metrics are found beside others; None makes one.
            recall: brings back what was computed for a request's session, in a thread; None where the engine keeps no
                sessions: requests that name one are then refused.
            guided: whether answers follow a form (JSON schema, regular expression, grammar); else such requests are
                refused.
            now: Unix seconds.
        """
        self.engine, self.model_id, self.max_tokens = engine, model_id, max_tokens
        self._names = {model_id, *aliases}
        self._guides = Guides(engine.tokenizer, engine.end_tokens)
        self._recall, self._guided = recall, guided
        self._registry = CollectorRegistry() if registry is None else registry
        self._registry.register(collector)
        self._now = now
        self._started = int(now())

    def asgi(self, *more: BaseRoute) -> Starlette:
        """Return the ASGI application; an engine may have more routes than these."""
        routes: list[BaseRoute] = [
            Route("/v1/models", self.models),
            Route("/v1/models/{name}", self.model),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            *more,
        ]
        handlers = {ApiError: _api_error, HTTPException: _http_error, Exception: _unexpected}
        return Starlette(routes=routes, exception_handlers=handlers)  # pyright: ignore[reportArgumentType]

    async def models(self, request: HttpRequest) -> Response:
        """GET /v1/models."""
        return JSONResponse(ModelList(data=[self._model()]).model_dump())

    async def model(self, request: HttpRequest) -> Response:
        """GET /v1/models/NAME."""
        self._require_model(request.path_params["name"])
        return JSONResponse(self._model().model_dump())

    async def health(self, request: HttpRequest) -> Response:
        """GET /health: 200 while requests are taken."""
        active, waiting = self.engine.load
        taking = self.engine.accepting
        body = {"status": "ok" if taking else "draining", "active": active, "waiting": waiting}
        return JSONResponse(body, 200 if taking else 503)

    async def metrics(self, request: HttpRequest) -> Response:
        """GET /metrics."""
        return Response(generate_latest(self._registry), media_type=METRICS_TYPE)

    async def completions(self, request: HttpRequest) -> Response:
        """POST /v1/completions."""
        asked = parse_request(CompletionRequest, await _body(request))
        self._require_offered(asked)
        prompt = asked.prompt if isinstance(asked.prompt, list) else await self._encode(asked.prompt)
        wanted = await self._choices(asked, prompt, asked.sampling(), asked.logprobs)
        stamp, tokenizer = self._stamp("cmpl"), self.engine.tokenizer
        return await self._answer(request, asked, wanted, lambda: CompletionReply(stamp, tokenizer))

    async def chat(self, request: HttpRequest) -> Response:
        """POST /v1/chat/completions."""
        asked = parse_request(ChatCompletionRequest, await _body(request))
        self._require_offered(asked)
        try:
            prompt = await asyncio.to_thread(self.engine.tokenizer.encode_chat, asked.chat())
        except LanguageModelError as error:
            raise ApiError(400, str(error), param="messages", code="invalid_value") from error
        logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
        wanted = await self._choices(asked, prompt, asked.sampling(), logprobs)
        stamp, tokenizer = self._stamp("chatcmpl"), self.engine.tokenizer
        return await self._answer(request, asked, wanted, lambda: ChatReply(stamp, tokenizer))

    async def _choices(
        self, asked: Asked, prompt: list[int], sampling: SamplingParameters, logprobs: int | None
    ) -> list[Request]:
        """Return a request for each choice; of a seeded one each choice has the next seed."""
        self._check(prompt, sampling)
        max_tokens, found = sampling.max_tokens or self.max_tokens, list[Request]()
        for number in range(asked.n):
            seed = None if sampling.seed is None else sampling.seed + number
            parameters = sampling.model_copy(update={"seed": seed})
            constraint = await self._guides.constraint(asked.guide)
            session = asked.session if number == 0 else None
            found.append(Request(tuple(prompt), parameters, max_tokens, logprobs, constraint, session))
        return found

    def _check(self, prompt: list[int], sampling: SamplingParameters) -> None:
        vocabulary = self.engine.vocabulary
        for name, tokens in (("prompt", prompt), ("logit_bias", sampling.logit_bias)):
            outside = next((token for token in tokens if not 0 <= token < vocabulary), None)
            if outside is not None:
                raise invalid_request(name, outside, f"token ids from 0 to {vocabulary - 1}")
        if not prompt:
            raise invalid_request("prompt", "", "at least one token")

    async def _encode(self, text: str) -> list[int]:
        encode = self.engine.tokenizer.encode
        try:
            return encode(text) if len(text) < LONG_TEXT else await asyncio.to_thread(encode, text)
        except LanguageModelError as error:
            raise ApiError(400, str(error), param="prompt", code="invalid_value") from error

    async def _answer(
        self, request: HttpRequest, asked: Asked, wanted: list[Request], make_reply: Callable[[], Reply]
    ) -> Response:
        if asked.session is not None and self._recall is not None:
            await asyncio.to_thread(self._recall, wanted[0])
        answer = Answer(self.engine, wanted, make_reply)
        if asked.stream:
            return StreamingResponse(answer.stream(usage=asked.include_usage), headers=SSE_HEADERS)
        return JSONResponse((await _unless_disconnected(request, answer)).model_dump(exclude_none=True))

    def _require_offered(self, asked: Asked) -> None:
        self._require_model(asked.model)
        if asked.session is not None and self._recall is None:
            raise invalid_request("session", asked.session, "none (no sessions are kept here)", code="not_offered")
        if asked.guide is not None and not self._guided:
            field = asked.guide.field
            raise ApiError(400, f"{field}: no form of answers is followed here", param=field, code="not_offered")

    def _require_model(self, name: str) -> None:
        if name not in self._names:
            message = f"model = {name!r}: accepted: {self.model_id}"
            raise ApiError(404, message, param="model", code="model_not_found")

    def _model(self) -> Model:
        return Model(id=self.model_id, created=self._started)

    def _stamp(self, kind: str) -> Stamp:
        return Stamp(f"{kind}-{uuid.uuid4().hex}", int(self._now()), self.model_id)


async def _unless_disconnected(request: HttpRequest, answer: Answer) -> Completion | ChatCompletion:
    """Return the whole answer; a client that goes away aborts it."""
    collecting = asyncio.create_task(answer.whole())
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            raise ClientDisconnect
        return collecting.result()
    finally:
        answer.abort()
        collecting.cancel()
        leaving.cancel()


async def _left(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: HttpRequest) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {MAX_BODY_BYTES} bytes", code="body_too_large")
    return bytes(body)


async def _api_error(request: HttpRequest, error: ApiError) -> Response:
    headers = {"retry-after": "1"} if error.status in (429, 503) else None
    return JSONResponse(error.body.model_dump(), error.status, headers=headers)


async def _http_error(request: HttpRequest, error: HTTPException) -> Response:
    wrapped = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(wrapped.body.model_dump(), error.status_code, headers=error.headers)


async def _unexpected(request: HttpRequest, error: Exception) -> Response:
    wrapped = ApiError(500, "the server failed on this request; its log says why", type="server_error")
    return JSONResponse(wrapped.body.model_dump(), 500)

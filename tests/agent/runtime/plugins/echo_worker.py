"""A plugin with a bit of everything, in plain ASGI: what the runtime's tests need."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fairlead_agent.plugin import Budget, BudgetReply, Context


class Worker:
    """Its config steers it: ``prepare_until`` a file is there, ``minimum_bytes``, ``prepare_s``, ``reconfigure_s``."""

    def __init__(self) -> None:
        self.state = b""
        self.held = bytearray()
        self.drained = False
        self.context: Context | None = None

    def prepare(self, context: Context) -> None:
        self.context = context
        context.progress(0.5, "half way")
        time.sleep(context.config.get("prepare_s", 0.0))
        awaited = context.config.get("prepare_until")
        while awaited and not Path(awaited).exists():
            time.sleep(0.005)
        context.publish_fact("processor:0", "speed_hz", 2.0e9, 1e6)
        context.cache_dir.joinpath("prepared").write_text("yes")

    async def application(self, context: Context) -> Any:
        return self.serve

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        handler = getattr(self, "on_" + scope["path"].strip("/").replace("-", "_"), None)
        if handler is None:
            await answer(send, 404, b"no such path")
        else:
            await handler(scope, body, send)

    async def on_echo(self, scope: Any, body: bytes, send: Any) -> None:
        await answer(send, 200, body or scope["query_string"])

    async def on_gate(self, scope: Any, body: bytes, send: Any) -> None:
        assert self.context is not None
        while not self.context.cache_dir.joinpath("go").exists():
            await asyncio.sleep(0.005)
        await answer(send, 200, b"slow")

    async def on_slow(self, scope: Any, body: bytes, send: Any) -> None:
        await asyncio.sleep(float(scope["query_string"] or b"0.5"))
        await answer(send, 200, b"slow")

    async def on_stream(self, scope: Any, body: bytes, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(2000):
            await send({"type": "http.response.body", "body": b"%06d\n" % number, "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b""})

    async def on_flood(self, scope: Any, body: bytes, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def on_block(self, scope: Any, body: bytes, send: Any) -> None:
        time.sleep(float(scope["query_string"]))  # noqa: ASYNC251 - that is the point
        await answer(send, 200, b"blocked")

    async def on_raise(self, scope: Any, body: bytes, send: Any) -> None:
        raise KeyError("the application's own fault")

    async def on_allocate(self, scope: Any, body: bytes, send: Any) -> None:
        self.held = bytearray(os.urandom(2**20) * int(scope["query_string"]))
        await answer(send, 200, str(len(self.held)).encode())

    async def on_exit(self, scope: Any, body: bytes, send: Any) -> None:
        print("about to leave", file=sys.stderr)
        threading.Thread(target=os._exit, args=(7,)).start()
        await asyncio.sleep(5)

    async def on_context(self, scope: Any, body: bytes, send: Any) -> None:
        context = self.context
        assert context is not None
        seen = {
            "workload": context.workload,
            "replica": context.replica,
            "node": context.node,
            "variant": context.variant,
            "memory_bytes": context.budget.memory_bytes,
            "state": self.state.decode(),
            "cookie_in_environment": any("COOKIE" in name or "TOKEN" in name for name in os.environ),
            "drained": self.drained,
        }
        context.log.info("asked for context", password="hunter2")
        await answer(send, 200, json.dumps(seen).encode())

    async def on_peers(self, scope: Any, body: bytes, send: Any) -> None:
        assert self.context is not None
        async for peers in self.context.peers():
            if peers:
                await answer(send, 200, ",".join(peer.node for peer in peers).encode())
                return

    async def on_fact(self, scope: Any, body: bytes, send: Any) -> None:
        assert self.context is not None
        self.context.publish_fact("late", "count", 1)
        await answer(send, 200, b"")

    async def on_metric(self, scope: Any, body: bytes, send: Any) -> None:
        from prometheus_client import Counter

        assert self.context is not None
        Counter("echo_things", "Things.", registry=self.context.metrics).inc(3)
        await answer(send, 200, b"")

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        assert self.context is not None
        time.sleep(self.context.config.get("reconfigure_s", 0.0))
        minimum = int(self.context.config.get("minimum_bytes", 0))
        wanted = budget.memory_bytes.get("dram", 0)
        if wanted < minimum:
            return BudgetReply(accepted=False, minimum={"dram": minimum}, reason="below the minimum")
        if len(self.held) > wanted // 2:
            self.held = bytearray()
        return BudgetReply(in_use={"dram": len(self.held)}, minimum={"dram": minimum})

    def drain(self) -> None:
        self.drained = True

    def checkpoint(self) -> bytes:
        return self.state + b"!"

    def restore(self, state: bytes) -> None:
        self.state = state

    def measurements(self) -> dict[str, float]:
        return {"throughput_per_s": 12.5}


async def answer(send: Any, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})

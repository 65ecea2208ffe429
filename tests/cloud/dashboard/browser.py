"""A headless chromium, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import patient

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-prefers-reduced-motion",
    "--remote-debugging-port=0",
)


class Page:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        #: What went wrong in the page: exceptions, errors on the console, blocked resources.
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its result."""
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        async with asyncio.timeout(patient(120)):
            while True:
                message = json.loads(await self._socket.recv())
                if message.get("id") == self._number:
                    assert "error" not in message, message
                    return message["result"]
                self._hear(message)

    async def open(self, url: str, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        """Show ``url`` in a window of that size."""
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        phone = width < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[feature])
        await self.call("Page.navigate", url=url)

    async def run(self, code: str) -> Any:
        """The value of an expression; promises are waited for."""
        result = await self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, condition: str, timeout_s: float = patient(120)) -> None:
        """Wait until an expression is true in the page."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._holds(condition):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(f"never true: {condition}\n{self.complaints}\n{text[:3000]}") from None

    async def _holds(self, condition: str) -> bool:
        # While a page is being left, there is nothing to ask.
        result = await self.call("Runtime.evaluate", expression=f"Boolean({condition})", returnByValue=True)
        return result["result"].get("value") is True

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of the page (PNG)."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(found["data"]))

    def _hear(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if parameters["type"] == "error":
                self.complaints.append(json.dumps(parameters["args"])[:500])
            case _:
                pass


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A fresh browser with one tab; skips where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium is installed")
    websockets = pytest.importorskip("websockets.asyncio.client", reason="websockets is not installed")
    folder = Path(tempfile.mkdtemp(prefix="fairlead-chromium-"))
    process = await asyncio.create_subprocess_exec(
        *(program, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = await _tab(folder, process)
        async with websockets.connect(url, max_size=None, compression=None) as socket:
            yield Page(socket)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _tab(folder: Path, process: asyncio.subprocess.Process) -> str:
    file = folder / "DevToolsActivePort"
    async with asyncio.timeout(patient(120)), httpx.AsyncClient() as client:
        while True:
            assert process.returncode is None, "chromium has ended"
            with contextlib.suppress(FileNotFoundError, IndexError, httpx.TransportError, StopIteration):
                port = file.read_text().splitlines()[0]
                tabs = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
                return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
            await asyncio.sleep(0.05)

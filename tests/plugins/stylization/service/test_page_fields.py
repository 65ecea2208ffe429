"""The page in a browser, with a service behind it: its optional pictures are sent, and count."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

from fairlead_stylization.networks.running import shipped_stylizer
from fairlead_stylization.pictures import Limits
from fairlead_stylization.service.answers import Answer
from fairlead_stylization.service.application import Application
from fairlead_stylization.service.form import Asked
from fairlead_stylization.service.generating import Generator
from fairlead_stylization.service.generation import Generation
from fairlead_stylization.service.stylist import Stylist
from fairlead_stylization.service.varied import Searcher
from tests.cloud.dashboard.browser import Page, browser
from tests.plugins.stylization.small_network import random_network

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")
CHOOSE = """{ const files = new DataTransfer(), input = document.querySelector('[name=%s]');
files.items.add(new File([Uint8Array.from(atob('%s'), one => one.charCodeAt(0))], '%s.png', { type: 'image/png' }));
input.files = files.files; input.dispatchEvent(new Event('change', { bubbles: true })); }"""
RESULT = """fetch(document.querySelector('#result img').src).then(answer => answer.arrayBuffer())
.then(bytes => btoa(String.fromCharCode(...new Uint8Array(bytes))))"""


class Recording(Stylist):
    """Keeps what was asked; ``generated`` of the generator beside it."""

    asked: list[Asked]
    generated: list[Generation]

    def answer(self, asked: Asked, stopped: Callable[[], bool] = lambda: False) -> Answer:
        self.asked.append(asked)
        return super().answer(asked, stopped)


class RecordingGenerator(Generator):
    """Keeps what was asked."""

    asked: list[Generation]

    def answer(self, asked: Generation, stopped: Callable[[], bool] = lambda: False) -> Answer:
        self.asked.append(asked)
        return super().answer(asked, stopped)


def png(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 56, 3), np.uint8)


def half(height: int = 48, width: int = 56) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 255
    return mask


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[str, Recording]]:
    stylizer = shipped_stylizer("edge", 1, folder)
    searcher = Searcher(folder / "edge.safetensors", stylizer, steps=3)
    stylist = Recording(stylizer, Limits(100_000, 1 << 20), searcher)
    generator = RecordingGenerator(Limits(100_000, 1 << 20), steps=2)
    stylist.asked, generator.asked = [], []
    stylist.generated = generator.asked
    place = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Application(stylist, generator).asgi(), log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[place]))
    try:
        yield f"http://127.0.0.1:{place.getsockname()[1]}/", stylist
    finally:
        server.should_exit = True
        await serving


async def choose(tab: Page, name: str, picture: bytes) -> None:
    await tab.run(CHOOSE % (name, base64.b64encode(picture).decode(), name))


async def begin(tab: Page, address: str) -> None:
    await tab.open(address)
    await tab.until("document.readyState == 'complete' && document.querySelector('#seeded')")
    await choose(tab, "content", png(noise(0)))
    await choose(tab, "style", png(noise(1) // np.array([1, 4, 4], np.uint8)))
    await tab.until("document.querySelector('#result img')?.complete && !document.querySelector('#result.busy')")


async def shown(tab: Page) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(await tab.run(RESULT)))).convert("RGB")).astype(int)


async def other(tab: Page, before: str) -> str:
    """The address of the next result."""
    source = "document.querySelector('#result img').src"
    await tab.until(f"{source} != {before!r} && !document.querySelector('#result.busy')")
    return await tab.run(source)


async def test_what_a_mask_leaves_out_stays_the_picture(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, stylist), browser() as tab:
        await begin(tab, address)
        first = await tab.run("document.querySelector('#result img').src")
        assert stylist.asked[-1].mask is None
        assert np.abs(await shown(tab) - noise(0))[:, :28].mean() > 2
        await choose(tab, "mask", png(half()))
        second = await other(tab, first)
        assert stylist.asked[-1].mask == png(half())
        apart = np.abs(await shown(tab) - noise(0))
        assert apart[:, :28].max() == 0 and apart[:, 28:].mean() > 2
        await tab.run("document.querySelector('[aria-label=\"Remove the mask\"]').click()")
        await other(tab, second)
        assert stylist.asked[-1].mask is None
        assert await tab.run("document.activeElement.name") == "mask"
        assert not tab.complaints


async def test_a_mask_of_another_size_is_told(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, _), browser() as tab:
        await begin(tab, address)
        await choose(tab, "mask", png(half(30, 30)))
        await tab.until("document.querySelector('#note.wrong')")
        assert "mask" in await tab.run("document.querySelector('#note').textContent")


async def test_results_are_led_towards_a_picture(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, stylist), browser() as tab:
        await begin(tab, address)
        before = await tab.run("document.querySelector('#result img').src")
        plain = await shown(tab)
        await choose(tab, "towards", png(noise(2)))
        assert await tab.run("document.querySelector('#seeded').checkVisibility()") is True
        await other(tab, before)
        assert stylist.asked[-1].towards == png(noise(2))
        assert await tab.run("document.querySelectorAll('#result img').length") == 1
        assert np.abs(await shown(tab) - plain).mean() > 0
        await tab.run("document.querySelector('[aria-label=\"Remove the picture to go towards\"]').click()")
        assert await tab.run("document.querySelector('#seeded').checkVisibility()") is False
        assert not tab.complaints

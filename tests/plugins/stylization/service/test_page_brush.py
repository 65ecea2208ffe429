"""The brush of the page, by real pointers: what is painted is the mask, of styles and of holes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairlead_stylization.service.generation import Generation
from tests.cloud.dashboard.browser import Page, browser
from tests.plugins.stylization.service.test_page_fields import begin, choose, half, noise, other, png, served, shown
from tests.plugins.stylization.small_network import random_network

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")
SOURCE = "document.querySelector('#result img').src"


async def place(tab: Page, selector: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of what is shown."""
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    left, top, width, height = await tab.run(f"(box => [box.x, box.y, box.width, box.height])({box})")
    return left, top, width, height


async def press(tab: Page, selector: str) -> None:
    left, top, width, height = await place(tab, selector)
    for kind in ("mousePressed", "mouseReleased"):
        await tab.call("Input.dispatchMouseEvent", type=kind, x=left + width / 2, y=top + height / 2, button="left",
                       clickCount=1)  # fmt: skip


async def paint(tab: Page, spots: Sequence[tuple[float, float]], *, touch: bool = False) -> None:
    """Draw through spots, in shares of the picture, with a mouse or a finger."""
    await tab.run("document.querySelector('canvas').scrollIntoView({ block: 'center' })")
    left, top, width, height = await place(tab, "canvas")
    at = [(left + x * width, top + y * height) for x, y in spots]
    if touch:
        points = [[{"x": x, "y": y}] for x, y in at]
        await tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=points[0])
        for point in points[1:]:
            await tab.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=point)
        await tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return
    kinds = ["mousePressed", *["mouseMoved"] * (len(at) - 2), "mouseReleased"]
    for kind, (x, y) in zip(kinds, at, strict=True):
        await tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


async def thick(tab: Page, share: float) -> None:
    """A brush as wide as that share of the picture."""
    _, _, width, _ = await place(tab, "canvas")
    await tab.run(f"document.querySelector('#size').value = {share * width}")


def mask_of(encoded: bytes | None) -> np.ndarray:
    assert encoded is not None
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))


async def test_what_a_mouse_paints_takes_the_style_and_clearing_ends_that(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, stylist), browser() as tab:
        await begin(tab, address)
        assert await tab.run("document.querySelector('#painter').checkVisibility()") is False
        first = await tab.run(SOURCE)
        await press(tab, "#paint")
        await tab.until("document.querySelector('#painter').checkVisibility()")
        await thick(tab, 0.3)
        await paint(tab, [(0.75, 0.1), (0.75, 0.5), (0.75, 0.9), (0.75, 0.9)])
        second = await other(tab, first)
        mask = mask_of(stylist.asked[-1].mask)
        assert mask.shape == (48, 56) and mask[24, 42] == 255 and mask[:, :28].max() == 0
        apart = np.abs(await shown(tab) - noise(0))
        assert apart[:, :28].max() == 0 and apart[10:38, 38:46].mean() > 2
        await tab.run("document.querySelector('#erase').click()")
        await paint(tab, [(0.75, 0.4), (0.75, 0.45), (0.75, 0.45)])
        third = await other(tab, second)
        mask = mask_of(stylist.asked[-1].mask)
        assert mask[20, 42] == 0 and mask[40, 42] == 255
        await press(tab, "#clear")
        await other(tab, third)
        assert stylist.asked[-1].mask is None and not tab.complaints


async def test_a_finger_paints_a_hole_that_is_filled_in_several_ways(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, stylist), browser() as tab:
        await tab.open(address, 390, 844)
        await tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
        await tab.until("document.readyState == 'complete' && document.querySelector('#seeded')")
        await tab.run("document.querySelector('[value=inpainting]').click()")
        await choose(tab, "content", png(noise(0)))
        await tab.until("document.querySelector('#painter').checkVisibility()")
        assert "Paint what is to be filled" in await tab.run("document.querySelector('#note').textContent")
        assert await tab.run("document.querySelector('[name=style]').checkVisibility()") is False
        await thick(tab, 0.2)
        await paint(tab, [(0.3, 0.3), (0.4, 0.6), (0.4, 0.7)], touch=True)
        await tab.until("document.querySelector('#result img')?.complete && !document.querySelector('#result.busy')")
        asked = stylist.generated[-1]
        hole = mask_of(asked.mask)
        assert asked.what == "inpainting" and hole.max() == 255 and hole[:, 40:].max() == 0
        apart = np.abs(await shown(tab) - noise(0)).max(axis=2)
        assert apart[hole < 100].max() == 0 and apart[hole > 200].max() > 0
        first = await tab.run(SOURCE)
        await tab.run(
            "{ const count = document.querySelector('[name=diverse]'); count.value = '2'; "
            "count.dispatchEvent(new Event('input', { bubbles: true })); }"
        )
        await other(tab, first)
        assert stylist.generated[-1].diverse == 2
        assert await tab.run("document.querySelectorAll('#result img').length") == 2
        assert not tab.complaints


async def test_a_masks_file_is_painted_on_and_another_picture_ends_what_was_painted(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, stylist), browser() as tab:
        await begin(tab, address)
        first = await tab.run(SOURCE)
        await choose(tab, "mask", png(half()))
        second = await other(tab, first)
        await press(tab, "#paint")
        await thick(tab, 0.2)
        await paint(tab, [(0.1, 0.5), (0.12, 0.5), (0.12, 0.5)])
        third = await other(tab, second)
        mask = mask_of(stylist.asked[-1].mask)
        assert mask[5, 50] == 255 and mask[24, 6] == 255 and mask[5, 10] == 0
        await choose(tab, "content", png(noise(3)))
        await other(tab, third)
        assert stylist.asked[-1].mask is None and not tab.complaints


async def test_a_grey_picture_is_coloured(tmp_path: Path) -> None:
    async with served(random_network(tmp_path)) as (address, stylist), browser() as tab:
        await begin(tab, address)
        first = await tab.run(SOURCE)
        await tab.run("document.querySelector('[value=colorization]').click()")
        await other(tab, first)
        asked: Generation = stylist.generated[-1]
        assert asked.what == "colorization" and asked.mask is None and not asked.hints
        assert await tab.run("document.querySelector('#painter').checkVisibility()") is False
        assert (await tab.run("document.querySelector('#result a').download")) == "content-coloured.png"
        assert not tab.complaints

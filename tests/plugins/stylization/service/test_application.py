"""The HTTP service: pictures in, pictures out, one clear error for each wrong thing, and it lives on."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from fairlead_stylization.networks.running import shipped_stylizer
from fairlead_stylization.pictures import Limits, read_picture
from fairlead_stylization.service.application import Application
from fairlead_stylization.service.form import Asked
from fairlead_stylization.service.stylist import Stylist
from fairlead_stylization.service.varied import Searcher
from fairlead_stylization.transform.tiles import Tiling
from tests.plugins.stylization.pictures import icc
from tests.plugins.stylization.small_network import random_network

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")


def png(height: int = 48, width: int = 56, seed: int = 0, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "PNG")
    return out.getvalue()


def _red() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    pixels[..., 1:] //= 4
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


RED = _red()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_network(tmp_path_factory.mktemp("network"))


@pytest.fixture
def stylist(folder: Path) -> Stylist:
    stylizer = shipped_stylizer("edge", 1, folder)
    searcher = Searcher(folder / "edge.safetensors", stylizer, most_pixels=64 * 64)
    return Stylist(stylizer, Limits(100_000, 1 << 20), searcher)


@pytest.fixture
async def client(stylist: Stylist) -> Iterator[httpx.AsyncClient]:
    application = Application(stylist, max_bytes=1 << 20, max_diverse=4).asgi()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://style") as client:
        yield client


def form(**files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [(name.rstrip("_"), (name, content)) for name, content in files.items()]


async def test_a_picture_comes_back_stylized(client: httpx.AsyncClient) -> None:
    answer = await client.post("/stylize", files=form(content=png(), style=RED))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    made = read_picture(answer.content)
    assert made.pixels.shape == (48, 56, 3)
    none = await client.post("/stylize", files=form(content=png(), style=RED), data={"strength": "0"})
    np.testing.assert_allclose(read_picture(none.content).pixels, read_picture(png()).pixels, atol=1 / 250)
    assert np.abs(made.pixels - read_picture(png()).pixels).mean() > 0.01


async def test_alpha_masks_formats_and_mixtures(client: httpx.AsyncClient) -> None:
    mask = io.BytesIO()
    half = np.zeros((48, 56), np.uint8)
    half[:, 28:] = 255
    Image.fromarray(half).save(mask, "PNG")
    files = form(content=png(), style=png(seed=1), style_=png(seed=2), mask=mask.getvalue())
    data = {"style_weight": ["1", "3"], "format": "webp", "keep_colours": "true", "quality": "100"}
    answer = await client.post("/stylize", files=files, data=data)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    clear = await client.post("/stylize", files=form(content=png(mode="RGBA"), style=png(seed=1, mode="L")))
    assert clear.status_code == 200 and "grey to colour" in clear.headers["fairlead-conversions"]


async def test_a_telephones_photograph_keeps_its_colours(client: httpx.AsyncClient) -> None:
    profile = icc.rgb_profile(icc.DISPLAY_P3, icc.CURVE, "Display P3")
    pixels = np.random.default_rng(2).integers(0, 256, (40, 30, 3), np.uint8)
    photograph = io.BytesIO()
    Image.fromarray(pixels).save(photograph, "PNG", icc_profile=profile)
    files = form(content=photograph.getvalue(), style=photograph.getvalue())
    answer = await client.post("/stylize", files=files, data={"strength": "0"})
    assert answer.status_code == 200, answer.text
    said = "Display P3 to sRGB by its colour profile"
    assert answer.headers["fairlead-conversions"] == f"content: {said}; style 1: {said}"
    made = read_picture(answer.content).pixels * 255
    np.testing.assert_allclose(made, icc.srgb_of(pixels, icc.DISPLAY_P3), atol=2)


async def test_different_results_come_in_one_archive(client: httpx.AsyncClient) -> None:
    async def asked(seed: int) -> zipfile.ZipFile:
        files = form(content=png(40, 40), style=png(40, 40, seed=1))
        answer = await client.post("/stylize", files=files, data={"diverse": "3", "seed": str(seed)})
        assert answer.status_code == 200, answer.text
        return zipfile.ZipFile(io.BytesIO(answer.content))

    first, again, other = await asked(1), await asked(1), await asked(2)
    assert sorted(first.namelist()) == ["01.png", "02.png", "03.png", "report.json"]
    assert first.read("01.png") == again.read("01.png") != other.read("01.png")
    assert first.read("01.png") != first.read("02.png")
    assert json.loads(first.read("report.json"))["diversity"]["distance"] > 0


async def test_large_pictures_are_searched_small_and_come_in_their_size(client: httpx.AsyncClient) -> None:
    files = form(content=png(80, 120), style=png(40, 40, seed=1))
    answer = await client.post("/stylize", files=files, data={"diverse": "2"})
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert json.loads(archive.read("report.json"))["searched"] == "78x52"
    first, second = (read_picture(archive.read(f"0{place}.png")).pixels for place in (1, 2))
    assert first.shape == second.shape == (80, 120, 3)
    assert np.abs(first - second).mean() > 1e-3


async def test_a_style_that_was_asked_for_is_not_decoded_again(
    client: httpx.AsyncClient, stylist: Stylist, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = form(content=png(), style=png(seed=5, mode="L"))
    first = await client.post("/stylize", files=files)
    read: list[str] = []
    monkeypatch.setattr(stylist, "_read", lambda encoded, name: read.append(name) or read_picture(encoded, name=name))
    again = await client.post("/stylize", files=files)
    assert read == ["content"] and again.content == first.content
    assert again.headers["fairlead-conversions"] == first.headers["fairlead-conversions"] == "style 1: grey to colour"


async def test_a_picture_leads_the_search(client: httpx.AsyncClient) -> None:
    files = form(content=png(40, 40), style=png(40, 40, seed=1), towards=RED)
    answer = await client.post("/stylize", files=files)
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert sorted(archive.namelist()) == ["01.png", "report.json"]
    # How far results are from the picture, with a minus; how far from each other would be above zero.
    assert json.loads(archive.read("report.json"))["objective"][0] < 0


REFUSED = [
    ({"text": "a stormy sea"}, {}, 400, "text 'a stormy sea'; accepted: none, where no CLIP"),
    ({"text": "a" * 600}, {}, 400, "text: 600 characters; accepted: at most 512"),
    ({}, {"towards": b"no picture"}, 400, "towards: no picture"),
    ({"strength": "2"}, {}, 400, "strength '2'; accepted: a number from 0 to 1"),
    ({"strength": "nan"}, {}, 400, "strength 'nan'"),
    ({"strenght": "1"}, {}, 400, "strenght: unknown field"),
    ({"diverse": "9"}, {}, 400, "from 1 to 4"),
    ({"diverse": "1.5"}, {}, 400, "a whole number"),
    ({"format": "gif"}, {}, 400, "format 'gif'; accepted: png, jpeg, webp"),
    ({"style_weight": ["1", "2"]}, {}, 400, "style_weight: 2 values"),
    ({"keep_colours": "maybe"}, {}, 400, "accepted: true, false"),
    ({}, {"content": b"no picture"}, 400, "content: no picture"),
    ({}, {"style": b""}, 400, "style 1: empty"),
    ({}, {"content": png(400, 400)}, 400, "content: 400x400 pixels; accepted: at most 100000"),
    ({}, {"mask": png(20, 20)}, 400, "mask: 20x20 pixels; accepted: 56x48"),
    ({}, {"content": png(300, 300) * 5}, 413, "accepted: at most 1048576"),
]


@pytest.mark.parametrize(("data", "files", "status", "message"), REFUSED, ids=[entry[3][:24] for entry in REFUSED])
async def test_what_is_wrong_is_named_and_the_next_request_is_served(
    client: httpx.AsyncClient, data: dict[str, object], files: dict[str, bytes], status: int, message: str
) -> None:
    given = {"content": png(), "style": png(seed=1), **files}
    answer = await client.post("/stylize", files=form(**given), data=data)
    assert answer.status_code == status and message in answer.json()["error"]["message"]
    assert (await client.post("/stylize", files=form(content=png(), style=png(seed=1)))).status_code == 200


async def test_what_is_no_form_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/stylize", content=png())).status_code == 415
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert (await client.post("/stylize", content=b"--y garbage", headers=headers)).status_code == 400
    assert (await client.post("/stylize", files=form(style=png()))).json()["error"]["message"].startswith("content: 0")
    assert (await client.get("/nothing")).status_code == 404


async def test_more_than_can_wait_are_refused(stylist: Stylist, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    go = threading.Event()
    answer = stylist.answer

    def slow(asked: object, stopped: object) -> object:
        go.wait(60)
        return answer(asked)  # type: ignore[arg-type]

    monkeypatch.setattr(stylist, "answer", slow)
    application = Application(stylist, max_in_flight=1, max_waiting=1).asgi()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://style") as client:
        files = form(content=png(), style=png(seed=1))
        two = [asyncio.create_task(client.post("/stylize", files=files)) for _ in range(2)]
        while (await client.get("/status")).json()["requests"] < 2:
            await asyncio.sleep(0.01)
        refused = await client.post("/stylize", files=files)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        go.set()
        assert [done.status_code for done in await asyncio.gather(*two)] == [200, 200]


async def test_large_pictures_wait_for_each_other_and_small_ones_do_not(
    stylist: Stylist, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go, answer, at_work = threading.Event(), stylist.answer, []

    def slow(asked: object, stopped: object) -> object:
        at_work.append(asked)
        go.wait(60)
        return answer(asked)  # type: ignore[arg-type]

    monkeypatch.setattr(stylist, "answer", slow)
    sizes = {"large": (200, 200), "small": (40, 40)}
    for kind, most in (("large", 1), ("small", 2)):
        go.clear(), at_work.clear()
        application = Application(stylist, work_bytes=lambda pixels, results: pixels, room_bytes=45_000).asgi()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://style") as client:
            # The style is small: the largest picture of a request counts.
            files = form(style=png(40, 40), content=png(*sizes[kind]))
            asked = [asyncio.create_task(client.post("/stylize", files=files)) for _ in range(2)]
            while len(at_work) < most:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert len(at_work) == most
            go.set()
            assert [done.status_code for done in await asyncio.gather(*asked)] == [200, 200]


def test_a_large_picture_is_never_in_floats_as_a_whole(folder: Path) -> None:
    import tracemalloc

    stylizer = shipped_stylizer("edge", 1, folder)
    stylizer.tiling = Tiling(tile=128, overlap=16, largest=1)
    stylist = Stylist(stylizer, Limits(10_000_000), Searcher(folder / "edge.safetensors", stylizer))
    asked = Asked(png(1000, 1500), (RED,), None, (1.0,), 1.0, False, 1, 0, 0.1, "PNG", 92)
    tracemalloc.start()
    try:
        for given in (asked, replace(asked, keep_colours=True)):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            stylist.answer(given)
            _, peak = tracemalloc.get_traced_memory()
            # Floats of the picture alone are 12 bytes a pixel; its file, its bytes, its result and that one's file: 12.
            assert peak - before < 14 * 1000 * 1500 + (8 << 20)
    finally:
        tracemalloc.stop()


async def test_metrics_status_and_page(client: httpx.AsyncClient) -> None:
    await client.post("/stylize", files=form(content=png(), style=png(seed=1)))
    told = (await client.get("/metrics")).text
    assert 'stylization_requests_total{result="good"} 1.0' in told and "stylization_seconds_count 1.0" in told
    assert (await client.get("/status")).json()["variant"] == "edge"
    page = (await client.get("/")).text
    assert 'type="range"' in page and 'name="strength"' in page

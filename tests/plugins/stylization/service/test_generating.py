"""Holes filled, grey pictures coloured and small ones enlarged by the service; one clear error for each wrong thing."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from fairlead_stylization.client import StyleClient
from fairlead_stylization.errors import MissingExtra
from fairlead_stylization.networks.running import shipped_stylizer
from fairlead_stylization.pictures import Limits, read_picture
from fairlead_stylization.service.answers import Answer
from fairlead_stylization.service.application import Application
from fairlead_stylization.service.generating import Generator
from fairlead_stylization.service.generation import Generation
from fairlead_stylization.service.stylist import Stylist
from fairlead_stylization.service.varied import Searcher
from tests.plugins.stylization.small_network import random_network

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")
FACTOR = 2
LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)


def png(pixels: np.ndarray, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "PNG")
    return out.getvalue()


def photograph(height: int = 48, width: int = 56) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([80 + 2 * y, 130 + 0 * y, 230 - 2 * x], axis=2).clip(0, 255).astype(np.uint8)


def hole(height: int = 48, width: int = 56) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return mask


PHOTO, HOLE, GREY = png(photograph()), png(hole()), png(photograph(), "L")


@pytest.fixture(scope="module")
def enlarging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ESPCN that repeats each pixel, and adds nothing."""
    arrays: dict[str, np.ndarray] = {}
    for place, (channels, size) in enumerate(((1, 5), (1, 3), (1, 3), (FACTOR**2, 3)), 1):
        kernel = np.zeros((channels, 1, size, size), np.float32)
        kernel[:, :, size // 2, size // 2] = 1
        arrays |= {f"conv{place}.weight": kernel, f"conv{place}.bias": np.zeros(channels, np.float32)}
    path = tmp_path_factory.mktemp("enlarging") / "espcn.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def stylist(tmp_path_factory: pytest.TempPathFactory) -> Stylist:
    folder = random_network(tmp_path_factory.mktemp("network"))
    stylizer = shipped_stylizer("edge", 1, folder)
    return Stylist(stylizer, Limits(100_000, 1 << 20), Searcher(folder / "edge.safetensors", stylizer))


def generator(**weights: Path) -> Generator:
    named = {name.replace("_", "-"): path for name, path in weights.items()}
    return Generator(Limits(20_000, 1 << 20, "`max_pixels`"), named, 64 * 64, steps=2)


@pytest.fixture
async def client(stylist: Stylist, enlarging: Path) -> AsyncIterator[httpx.AsyncClient]:
    served = Application(stylist, generator(super_resolution=enlarging), max_bytes=1 << 20, max_diverse=4).asgi()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://style") as client:
        yield client


async def asked(client: httpx.AsyncClient, files: dict[str, bytes], **fields: Any) -> httpx.Response:
    named = [(name, (name, content)) for name, content in files.items()]
    return await client.post("/generate", files=named, data={name: str(value) for name, value in fields.items()})


def several(answer: httpx.Response) -> tuple[list[np.ndarray], dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        return [read_picture(archive.read(name)).pixels for name in names], json.loads(archive.read("report.json"))


async def test_a_hole_is_filled_and_what_is_known_stays(client: httpx.AsyncClient) -> None:
    answer = await asked(client, {"content": PHOTO, "mask": HOLE}, what="inpainting")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png" and answer.headers["server-timing"].startswith("generate;")
    made, real = read_picture(answer.content).pixels, read_picture(PHOTO).pixels
    np.testing.assert_array_equal(made[hole() == 0], real[hole() == 0])
    assert np.abs(made - real).max() < 0.1


async def test_a_seed_gives_the_same_fills_again(client: httpx.AsyncClient) -> None:
    found = []
    for seed in (1, 1, 2):
        files = {"content": PHOTO, "mask": HOLE}
        found.append(several(await asked(client, files, what="inpainting", diverse=3, seed=seed)))
    (first, report), (again, _), (other, _) = found
    assert len(first) == 3 and report["kind"] == "inpainting" and report["seed"] == 1
    assert report["diversity"]["distance"] > 0
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0] - other[0]).max() > 0 and np.abs(first[0] - first[1]).max() > 0
    real = read_picture(PHOTO).pixels
    for made in first:
        np.testing.assert_array_equal(made[hole() == 0], real[hole() == 0])


async def test_a_hole_is_filled_with_texture_or_smoothly(client: httpx.AsyncClient) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (48, 56, 3)).astype(np.uint8)
    rough = {}
    for finish in ("textured", "smooth"):
        files = {"content": png(grain), "mask": HOLE}
        answer = await asked(client, files, what="inpainting", finish=finish, seed=3)
        assert answer.status_code == 200, answer.text
        rough[finish] = read_picture(answer.content).pixels[hole() > 0].std()
    assert rough["textured"] > 1.4 * rough["smooth"]


async def test_a_mask_of_another_size_is_fitted_and_one_of_another_shape_is_named(client: httpx.AsyncClient) -> None:
    large = await asked(client, {"content": PHOTO, "mask": png(hole(96, 112))}, what="inpainting")
    assert large.status_code == 200, large.text
    same = await asked(client, {"content": PHOTO, "mask": HOLE}, what="inpainting")
    np.testing.assert_allclose(read_picture(large.content).pixels, read_picture(same.content).pixels, atol=0.02)
    refused = await asked(client, {"content": PHOTO, "mask": png(hole(30, 30))}, what="inpainting")
    assert refused.status_code == 400
    assert "mask: 30x30 pixels; accepted: 56x48" in refused.json()["error"]["message"]


async def test_a_grey_picture_is_coloured_and_keeps_its_luminance(client: httpx.AsyncClient) -> None:
    made, _ = several(await asked(client, {"content": GREY}, what="colorization", diverse=2))
    real = read_picture(GREY).pixels
    for one in made:
        assert np.abs(one.max(axis=2) - one.min(axis=2)).max() > 0.02
        np.testing.assert_allclose(one @ LUMINANCE, real @ LUMINANCE, atol=0.01)
    assert np.abs(made[0] - made[1]).max() > 0


async def test_what_may_not_be_expected_is_told(client: httpx.AsyncClient) -> None:
    answer = await asked(client, {"content": PHOTO}, what="colorization")
    assert "content: its colours are not looked at" in answer.headers["fairlead-conversions"]
    answer = await asked(client, {"content": PHOTO}, what="colorization", hints="true")
    assert "fairlead-conversions" not in answer.headers
    answer = await asked(client, {"content": GREY, "mask": HOLE}, what="inpainting")
    assert "grey, and so is what fills its hole" in answer.headers["fairlead-conversions"]
    filled = read_picture(answer.content).pixels
    assert np.abs(filled.max(axis=2) - filled.min(axis=2)).max() == 0


async def test_a_picture_leads_what_fills_a_hole(client: httpx.AsyncClient) -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    made, report = several(
        await asked(client, {"content": PHOTO, "mask": HOLE, "towards": png(red)}, what="inpainting")
    )
    # How far results are from the picture, with a minus; how far from each other would be above zero.
    assert len(made) == 1 and report["objective"][0] < 0


async def test_a_picture_is_enlarged_with_its_alpha_where_a_network_is_set(client: httpx.AsyncClient) -> None:
    clear = np.dstack([photograph(), np.full((48, 56), 90, np.uint8)])
    answer = await asked(client, {"content": png(clear, "RGBA")}, what="super-resolution")
    assert answer.status_code == 200, answer.text
    made = read_picture(answer.content)
    assert made.pixels.shape == (96, 112, 3) and made.alpha is not None
    np.testing.assert_allclose(made.alpha, 90 / 255, atol=0.01)
    repeated = np.repeat(np.repeat(read_picture(PHOTO).pixels @ LUMINANCE, 2, 0), 2, 1)
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose((made.pixels @ LUMINANCE)[inner], repeated[inner], atol=0.02)


REFUSED = [
    ({"content": PHOTO}, {"what": "inpainting"}, "mask: missing; accepted: a picture that is white"),
    ({"content": PHOTO, "mask": HOLE}, {"what": "colorization"}, "mask: with colorization; accepted: with inpainting"),
    ({"content": PHOTO, "mask": HOLE}, {"what": "inpainting", "hints": "true"}, "hints: with inpainting"),
    ({"content": PHOTO, "mask": HOLE}, {"what": "inpainting", "finish": "rough"}, "accepted: textured, smooth"),
    ({"content": GREY}, {"what": "colorization", "finish": "smooth"}, "finish: with colorization; accepted"),
    ({"content": GREY}, {"what": "colorization", "hints": "true"}, "content: grey, with hints"),
    ({"content": PHOTO}, {"what": "drawing"}, "what 'drawing'; accepted: inpainting, colorization, super-resolution"),
    ({"content": PHOTO}, {}, "what ''; accepted: inpainting"),
    ({"content": PHOTO}, {"what": "colorization", "style": "x"}, "style: unknown field; accepted: what, content"),
    ({"content": PHOTO}, {"what": "colorization", "diverse": 5}, "diverse '5'; accepted: a whole number from 1 to 4"),
    ({"content": PHOTO}, {"what": "colorization", "bound": 2}, "bound '2'; accepted: a number from 0.0001 to 1"),
    ({"content": PHOTO}, {"what": "super-resolution", "diverse": 2}, "diverse: with super-resolution; accepted: with"),
    ({"content": PHOTO}, {"what": "colorization", "format": "gif"}, "format 'gif'"),
    ({}, {"what": "colorization"}, "content: 0 files"),
    ({"content": b"none"}, {"what": "colorization"}, "content: no picture"),
    ({"content": PHOTO, "towards": b"none"}, {"what": "colorization"}, "towards: no picture"),
    ({"content": PHOTO, "mask": png(0 * hole())}, {"what": "inpainting"}, "mask: nothing is white"),
    ({"content": PHOTO, "mask": png(0 * hole() + 255)}, {"what": "inpainting"}, "mask: all is white"),
    ({"content": png(photograph(150, 150))}, {"what": "colorization"}, "150x150 pixels; accepted: at most 20000"),
    ({"content": png(photograph(99, 99))}, {"what": "super-resolution"}, "99x99 pixels, 2 times as wide and high"),
]


@pytest.mark.parametrize(("files", "fields", "message"), REFUSED, ids=[entry[2][:30] for entry in REFUSED])
async def test_what_is_wrong_is_named_and_the_next_request_is_served(
    client: httpx.AsyncClient, files: dict[str, bytes], fields: dict[str, Any], message: str
) -> None:
    answer = await asked(client, files or {"mask": HOLE}, **fields)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"], answer.text
    assert (await asked(client, {"content": GREY}, what="colorization")).status_code == 200


async def test_what_is_not_set_or_not_installed_is_told(
    stylist: Stylist, enlarging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, broken = generator(), generator(super_resolution=enlarging.with_name("none.npz"))
    for served, status, message in (
        (plain, 400, "what 'super-resolution'; accepted: inpainting, colorization, where no network that enlarges"),
        (broken, 500, "none.npz: cannot be read"),
        (None, 404, "generate: not served here"),
    ):
        transport = httpx.ASGITransport(Application(stylist, served).asgi())
        async with httpx.AsyncClient(transport=transport, base_url="http://style") as client:
            answer = await asked(client, {"content": PHOTO}, what="super-resolution")
            assert answer.status_code == status and message in answer.json()["error"]["message"]
    monkeypatch.setitem(__import__("sys").modules, "fairlead_stylization.diversity.generators.completing", None)
    with pytest.raises(MissingExtra, match=r"colorization needs more packages: .*\[torch\]"):
        generator().answer(Generation("colorization", GREY, None, False, 1, 0, 0.1, "PNG", 92))


async def test_a_search_ends_when_its_client_leaves(stylist: Stylist) -> None:
    began, ended = threading.Event(), threading.Event()

    class Endless(Generator):
        def answer(self, asked: Generation, stopped: Callable[[], bool] = lambda: False) -> Answer:
            began.set()
            answer = super().answer(asked, stopped)
            ended.set()
            return answer

    served = Application(stylist, Endless(Limits(20_000), most_pixels=64 * 64, steps=1000)).asgi()
    request = httpx.Request("POST", "http://style/generate", files=[("content", GREY)],
                            data={"what": "colorization", "diverse": "4"})  # fmt: skip
    body, sent = request.read(), []
    messages = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        given = next(messages, None)
        if given is None:
            # They stay until it is at work.
            while not began.is_set():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}
        return given

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/generate", "headers": headers, "query_string": b""}
    async with asyncio.timeout(120):
        # A thousand steps of four results take an hour.
        await served(scope, receive, send)
    assert ended.is_set()


async def test_what_does_not_fit_beside_others_waits(stylist: Stylist) -> None:
    here, go, sizes = [], threading.Event(), []

    class Slow(Generator):
        def answer(self, asked: Generation, stopped: Callable[[], bool] = lambda: False) -> Answer:
            here.append(asked)
            go.wait(60)
            return super().answer(asked, stopped)

    def size(pixels: int, results: int) -> int:
        sizes.append((pixels, results))
        return 60

    served = Application(stylist, Slow(Limits(20_000), steps=1), generation_bytes=size, room_bytes=100).asgi()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://style") as client:
        two = [asyncio.create_task(asked(client, {"content": GREY}, what="colorization", diverse=n)) for n in (1, 2)]
        while len(sizes) < 2 or not here:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(here) == 1
        go.set()
        assert [done.status_code for done in await asyncio.gather(*two)] == [200, 200]
    assert sorted(sizes) == [(48 * 56, 0), (48 * 56, 2)]


def test_the_client_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/workloads/style/generate"
        given.append(request.read())
        return httpx.Response(200, content=PHOTO, headers={"content-type": "image/png"})

    with StyleClient("http://gate/workloads/style") as client:
        client._http = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://gate/workloads/style")
        (made,), report = client.generate("inpainting", PHOTO, mask=HOLE, seed=3)
    np.testing.assert_array_equal(made, read_picture(PHOTO).pixels)
    assert report is None and b'name="what"' in given[0] and b'name="seed"' in given[0] and HOLE in given[0]

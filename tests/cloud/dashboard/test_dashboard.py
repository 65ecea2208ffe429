"""The dashboard in a real browser against a real control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_agent.messages import Offer
from tests.cloud.dashboard.browser import browser
from tests.cloud.node import estimate, refusing
from tests.cloud.place import Place, apply, place, ready, until
from tests.cloud.test_plane import openai_app


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


async def test_it_shows_the_site_and_follows_it(here: Place) -> None:
    # Leases are shorter than the time between two whole fetches.
    async with here.plane(lease_ttl_s=3.0) as plane, browser() as page:
        near = await here.node("near-box", openai_app)
        near.put_device(links=("control-plane",))
        await here.node("far-box", openai_app, offers=(Offer(variant="gpu", estimate=estimate(5.0), simulated=True),))
        await here.node("full-box", openai_app, offers=(refusing("cpu", "130 MiB free, 1 GiB needed"),))
        await apply(here.client())
        await ready(plane, "chat")
        # The token comes with the address and does not stay there.
        await page.open(f"{here.url}/dashboard/#token={here.token}")
        await page.until("document.querySelector('#workloads .node')?.textContent === 'near-box'")
        assert await page.run("location.hash") == ""
        await page.until("document.querySelector('#live').textContent === 'live'")
        shown = await page.run("document.querySelector('#explain').innerText")
        assert "near-box" in shown and "130 MiB free" in shown and "far-box" in shown
        assert await page.run("document.querySelectorAll('#explain .bid.won .bar i').length") > 2
        assert await page.run("document.querySelector('#graph canvas') !== null")
        await page.until("parseFloat(document.querySelector('.lease-cell .number').textContent) > 0")
        # Leases are asked for between two whole fetches.
        asked = "performance.getEntriesByType('resource').filter(({{ name }}) => name.endsWith('/{}')).length"
        await page.until(f"{asked.format('leases')} > {asked.format('placements')} + 2")
        # Something changes, and it is seen without a reload.
        await apply(here.client(), "second")
        await page.until("document.querySelector('#workloads').innerText.includes('second')")
        await page.until("document.querySelector('#events').innerText.includes('workload applied')")
        here.nodes.remove(near)
        await near.stop()
        await page.until("document.querySelector('#events').innerText.includes('node offline')")
        await until(lambda: not plane.view.statuses["near-box"].online)
        assert page.complaints == []


async def test_the_token(here: Place) -> None:
    async with here.plane(), browser() as page:
        await page.open(f"{here.url}/")
        await page.until("document.querySelector('dialog').open")
        enter = "document.querySelector('#token').value = '{}'; document.querySelector('#enter-form').requestSubmit()"
        await page.run(enter.format("fl_wrong"))
        await page.until("document.querySelector('#problem').textContent.includes('unknown bearer token')")
        assert await page.run("document.querySelector('#page').hidden")
        await page.run(enter.format(here.token))
        await page.until("!document.querySelector('#page').hidden && !document.querySelector('dialog').open")
        assert await page.run("JSON.stringify(localStorage).includes('fl_')") is False


async def test_its_files_come_with_a_policy(here: Place) -> None:
    async with here.plane():
        client = here.client("")
        assert (await client.get("/")).headers["location"] == "/dashboard/"
        for name in ("", "main.js", "style.css", "vendor/cytoscape.min.js", "vendor/cytoscape.LICENSE", "icon.svg"):
            found = await client.get(f"/dashboard/{name}")
            assert found.status_code == 200, name
            assert "script-src 'self'" in found.headers["content-security-policy"]
        assert (await client.get("/dashboard/../serve.py")).status_code == 404
        page = (await client.get("/dashboard/")).text
        assert "http://" not in page and "https://" not in page and "<script>" not in page

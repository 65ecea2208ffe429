"""The page in a browser: what is not needed is not shown."""

from __future__ import annotations

from pathlib import Path

from fairlead_stylization.service.trying import page
from tests.cloud.dashboard.browser import browser


async def test_a_seed_is_asked_for_where_results_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page(), encoding="utf-8")
    async with browser() as tab:
        await tab.open((tmp_path / "page.html").as_uri())
        await tab.until("document.readyState == 'complete' && document.querySelector('#seeded')")
        assert await tab.run("document.querySelector('#seeded').checkVisibility()") is False
        await tab.run(
            "{ const count = document.querySelector('[name=diverse]'); count.value = '4'; "
            "count.dispatchEvent(new Event('input', { bubbles: true })); }"
        )
        assert await tab.run("document.querySelector('#seeded').checkVisibility()") is True

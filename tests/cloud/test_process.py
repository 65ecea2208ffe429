"""The control plane as a process: what it says when it cannot start, and what survives its worst day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from fairlead_agent.bus.broker.process import free_port
from fairlead_cloud.commands import control_plane
from tests.cloud.place import Place, apply, place
from tests.patience import patient


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


class Process:
    """One run of ``python -m fairlead_cloud``."""

    def __init__(self, here: Place, **settings: Any) -> None:
        values = here.settings(port=free_port(), **settings)
        self.state, self.url = values.state_dir, f"http://127.0.0.1:{values.port}"
        self.file = here.folder / "settings.json"
        self.file.write_text(values.model_dump_json())

    async def __aenter__(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fairlead_cloud", "--settings", str(self.file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def client(self) -> httpx.AsyncClient:
        """A client with the administrator's token, as soon as the API answers."""
        async with asyncio.timeout(patient(120)):
            while not await self._answers():
                assert self.process.returncode is None, await self.said()
                await asyncio.sleep(0.05)
        headers = {"Authorization": f"Bearer {(self.state / 'admin.token').read_text().strip()}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=patient(120))

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.url}/api/v1/health")).status_code == 200
        return False

    async def said(self) -> str:
        """What it wrote to standard error, once it has ended."""
        async with asyncio.timeout(patient(120)):
            _, text = await self.process.communicate()
        return text.decode()


def retrieval(number: int) -> dict[str, Any]:
    """A workload of a plugin that the process finds installed, or of none: see :func:`_installed`."""
    return {"name": f"w{number}", "plugin": _installed()}


def _installed() -> str:
    from fairlead_agent.plugin.registry import Registry

    names = sorted(Registry.discover().manifests())
    if not names:
        pytest.skip("no plugin is installed")
    return names[0]


async def put(client: httpx.AsyncClient, number: int, **spec: Any) -> httpx.Response:
    workload = retrieval(number)
    return await apply(client, workload["name"], plugin=workload["plugin"], **spec)


async def test_kill_nine_loses_nothing_that_was_acknowledged(here: Place) -> None:
    acknowledged: list[str] = []
    async with Process(here) as process, await process.client() as client:

        async def write() -> None:
            with contextlib.suppress(httpx.TransportError):
                for number in range(10_000):
                    answered = await put(client, number)
                    assert answered.status_code == 200, answered.text
                    acknowledged.append(answered.json()["name"])

        writing = asyncio.create_task(write())
        async with asyncio.timeout(patient(120)):
            while len(acknowledged) < 8:
                if writing.done():
                    writing.result()
                await asyncio.sleep(0.01)
        process.process.kill()
        await writing
    async with Process(here) as process, await process.client() as client:
        names = {found["name"] for found in (await client.get("/api/v1/workloads")).json()}
        assert set(acknowledged) <= names
        # And it works as before, with the same token.
        assert (await put(client, 20_000)).status_code == 200
        process.process.send_signal(signal.SIGTERM)
        assert "Traceback" not in await process.said()
        assert process.process.returncode in (0, -signal.SIGTERM)


async def test_a_full_disk_is_one_clear_error_and_the_process_goes_on(here: Place) -> None:
    async with Process(here) as process, await process.client() as client:
        assert (await put(client, 0)).status_code == 200
        pid = process.process.pid
        largest = max(path.stat().st_size for path in process.state.glob("fairlead.db*"))
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        refused = await put(client, 1, constraints={"nodes": ["n" * 50] * 4000})
        assert refused.status_code == 503, refused.text
        assert refused.json()["detail"].startswith("database sqlite") and "\n" not in refused.json()["detail"]
        assert {found["name"] for found in (await client.get("/api/v1/workloads")).json()} == {"w0"}
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert (await put(client, 1)).status_code == 200


async def test_a_database_that_cannot_be_opened_ends_the_start_with_one_line(here: Place) -> None:
    async with Process(here, database_url="sqlite+aiosqlite:////dev/null/x.db") as process:
        said = await process.said()
        assert process.process.returncode == 1
        (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert "database" in line and "unable to open" in line and "Traceback" not in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 99999}, ["settings.json", "port", "99999"]),
        ({"colour": "red"}, ["settings.json", "colour"]),
        ({"login": {"username": "x", "password_file": "/nowhere/password"}}, ["password_file", "/nowhere/password"]),
    ],
    ids=["field", "unknown", "password"],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"state_dir": str(tmp_path / "state"), **change}))
    said = CliRunner().invoke(control_plane, ["--settings", str(file)])
    assert said.exit_code == 1 and isinstance(said.exception, SystemExit)
    assert said.output.startswith("Error: ") and len(said.output.splitlines()) == 1
    assert all(word in said.output for word in words)

"""A bench for real workers: short times, one state folder per test, everything stopped at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fairlead_agent.messages import InstanceReport, InstanceState, LeaseKey
from fairlead_agent.runtime.backoff import BackoffPolicy
from fairlead_agent.runtime.instance import Instance
from fairlead_agent.runtime.limits import Limiter
from fairlead_agent.runtime.relay import forward
from fairlead_agent.runtime.settings import SupervisorSettings
from fairlead_agent.runtime.spec import HostSpec, InstanceSpec
from fairlead_agent.runtime.supervisor import Supervisor
from tests.patience import growing, patient

PLUGINS = Path(__file__).parent / "plugins"
FAST = {
    "connect_timeout_s": patient(20),
    "probe_timeout_s": patient(10),
    "watch_interval_s": 0.1,
    "probe_interval_s": 0.1,
    "measure_interval_s": 0.2,
    "stop_grace_s": patient(1.5),
    "shrink_settle_s": patient(1.0),
    "backoff": BackoffPolicy(first_s=0.05, quarantine_after=3),
}


def _boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.fixture
def boottime_s() -> Callable[[], float]:
    return _boottime_s


class Bench:
    """One node with its supervisor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = LeaseKey(site="home", workload="echo", replica=0)
        self.reports: list[InstanceReport] = []
        self.supervisor: Supervisor

    def open(self, limiter: Limiter | None = None, **settings: Any) -> Supervisor:
        self.supervisor = Supervisor(
            self.folder,
            node="desk",
            clock=_boottime_s,
            limiter=limiter,
            settings=SupervisorSettings(**{**FAST, **settings}),
        )
        self.supervisor.subscribe(self.reports.append)
        return self.supervisor

    def spec(self, **fields: Any) -> InstanceSpec:
        given = {
            "key": self.key,
            "variant": "plain",
            "node": "desk",
            "worker": "echo_worker:Worker",
            "sys_path": (PLUGINS,),
            "cache_dir": self.folder / "cache",
            "expiry_grace_s": 30.0,
        }
        return InstanceSpec(**{**given, **fields})

    async def start(self, **fields: Any) -> Instance:
        """Start an instance and wait for standby."""
        instance = await self.supervisor.start(self.spec(**fields))
        state = await instance.until(InstanceState.STANDBY, timeout_s=patient(30))
        assert state is InstanceState.STANDBY, instance.reason
        return instance

    async def serve(self, *, ttl_s: float = patient(60.0), epoch: int = 1, **fields: Any) -> Instance:
        """Start an instance and give it a lease."""
        instance = await self.start(**fields)
        await self.supervisor.activate(self.key, epoch, _boottime_s() + ttl_s)
        return instance

    async def get(self, path: str, *, epoch: int | None = None, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """One request to the data socket: status, headers (lower case), body."""
        headers = [] if epoch is None else [("Fairlead-Epoch", str(epoch))]
        socket_path = self.supervisor.get(self.key).spec.data_socket
        answer = await forward(socket_path, "POST" if body else "GET", path, headers, body, read_timeout_s=patient(20))
        pieces = [piece async for piece in answer.body]
        return answer.status, {name.lower(): value for name, value in answer.headers}, b"".join(pieces)

    async def in_flight(self, count: int) -> None:
        """Wait until the worker says that so many requests are under way."""
        instance = self.supervisor.get(self.key)
        async with asyncio.timeout(patient(30)):
            while instance.status is None or instance.status.in_flight != count:
                await asyncio.sleep(0.02)

    def hasten(self, **settings: Any) -> None:
        """Let the worker that runs be watched with less patience from now on; the next one has that of before."""
        run = self.supervisor.get(self.key)._run
        assert run is not None
        run._settings = replace(run._settings, **settings)

    async def leases(self, first_s: float) -> AsyncIterator[int]:
        """Give the instance a lease of a new epoch, and then longer ones: for what has to happen before it ends."""
        instance = self.supervisor.get(self.key)
        for ttl_s in growing(first_s):
            epoch = instance.epoch + 1
            await self.supervisor.activate(self.key, epoch, _boottime_s() + ttl_s)
            yield epoch

    def open_gate(self) -> None:
        """Let the worker go on where it waits for that: in ``/gate``, or while it prepares."""
        self.gate.parent.mkdir(exist_ok=True)
        self.gate.touch()

    @property
    def gate(self) -> Path:
        """The file that opens it."""
        return self.folder / "cache" / "go"


@pytest.fixture
async def idle_bench() -> AsyncIterator[Callable[[Path], Bench]]:
    """Makes benches whose supervisor is opened by the test."""
    benches: list[Bench] = []

    def make(folder: Path) -> Bench:
        benches.append(Bench(folder))
        return benches[-1]

    yield make
    for bench in benches:
        await bench.supervisor.shutdown()


@pytest.fixture
def bench_at(idle_bench: Callable[[Path], Bench]) -> Callable[..., Bench]:
    """Makes benches with settings of the test."""

    def make(folder: Path, **settings: Any) -> Bench:
        bench = idle_bench(folder)
        bench.open(**settings)
        return bench

    return make


@pytest.fixture
def bench(bench_at: Callable[..., Bench], tmp_path: Path) -> Bench:
    return bench_at(tmp_path)


@pytest.fixture
def host_spec(tmp_path: Path) -> HostSpec:
    given = Bench(tmp_path).spec()
    return HostSpec(
        **{name: getattr(given, name) for name in InstanceSpec.model_fields},
        folder=tmp_path,
        data_socket=tmp_path / "data.sock",
        control_socket=tmp_path / "control.sock",
        cookie="0123456789abcdef",
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One worker that serves under epoch 4, shared by the tests of a module that leave it as it was."""
    bench = Bench(tmp_path_factory.mktemp("served"))
    bench.open()
    await bench.serve(epoch=4, ttl_s=patient(600), tcp_host="127.0.0.1")
    yield bench
    await bench.supervisor.shutdown()

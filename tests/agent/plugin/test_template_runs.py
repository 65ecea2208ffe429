"""A plugin from the template, all the way: found, checked, started by the worker host, asked."""

from __future__ import annotations

import time
from pathlib import Path

from fairlead_agent.messages import InstanceState, LeaseKey
from fairlead_agent.plugin import Budget
from fairlead_agent.plugin.discovery import in_folder
from fairlead_agent.plugin.new import new_plugin
from fairlead_agent.plugin.registry import Registry
from fairlead_agent.runtime.relay import forward
from fairlead_agent.runtime.spec import InstanceSpec
from fairlead_agent.runtime.supervisor import Supervisor
from tests.agent.plugin.authors import workload
from tests.patience import patient, supervisor_settings


def _boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def test_it_serves_what_its_config_says(tmp_path: Path) -> None:
    registry = Registry(in_folder(new_plugin("my-echo", tmp_path / "plugins")))
    worker = registry.worker("my-echo")
    key = LeaseKey(site="home", workload="echo", replica=0)
    supervisor = Supervisor(tmp_path / "state", node="desk", clock=_boottime_s, settings=supervisor_settings())
    try:
        instance = await supervisor.start(
            InstanceSpec(
                key=key,
                variant="plain",
                node="desk",
                worker=worker.target,
                python=worker.python,
                sys_path=worker.sys_path,
                config=await registry.validate(workload("my-echo", prefix="you said: ", max_body_bytes=10)),
                cache_dir=tmp_path / "cache",
            )
        )
        state = await instance.until(InstanceState.STANDBY, timeout_s=patient(30))
        assert state is InstanceState.STANDBY, instance.reason
        await supervisor.activate(key, 1, _boottime_s() + patient(60))
        for body, expected in ((b"hello", (200, b"you said: hello")), (b"hello again", (413, None))):
            answer = await forward(instance.spec.data_socket, "POST", "/", [("Fairlead-Epoch", "1")], body)
            said = b"".join([piece async for piece in answer.body])
            assert (answer.status, said if expected[1] else None) == expected
        assert (await supervisor.reconfigure(key, Budget(memory_bytes={"dram": 128 << 20}), patient(2.0))).accepted
    finally:
        await supervisor.shutdown()

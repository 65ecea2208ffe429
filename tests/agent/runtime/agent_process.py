"""An agent of its own for the adoption tests: starts a worker, says so, and waits to be killed."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from fairlead_agent.messages import InstanceState
from fairlead_agent.runtime.spec import InstanceSpec
from fairlead_agent.runtime.supervisor import Supervisor
from tests.patience import patient, supervisor_settings


def boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def main(folder: Path, spec: InstanceSpec, ttl_s: float) -> None:
    supervisor = Supervisor(folder, node=spec.node, clock=boottime_s, settings=supervisor_settings())
    instance = await supervisor.start(spec)
    await instance.until(InstanceState.STANDBY, timeout_s=patient(30))
    expires_s = boottime_s() + ttl_s
    await supervisor.activate(spec.key, 6, expires_s)
    print("SERVING", instance.pid, expires_s, flush=True)
    await asyncio.sleep(patient(120))


given = InstanceSpec.model_validate_json(Path(sys.argv[2]).read_text())
asyncio.run(main(Path(sys.argv[1]), given, float(sys.argv[3])))

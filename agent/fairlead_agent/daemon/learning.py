"""Compares what instances measure with what was estimated, so that the next bid is better."""

from __future__ import annotations

import asyncio

from fairlead_agent.daemon.calibration_file import CalibrationFile
from fairlead_agent.placement.calibration import Calibration
from fairlead_agent.runtime.spec import InstanceName
from fairlead_agent.runtime.supervisor import Supervisor

INTERVAL_S = 10.0


class Learning:
    """Looks at the instances' measurements now and then."""

    def __init__(self, supervisor: Supervisor, calibration: Calibration, file: CalibrationFile) -> None:
        self._supervisor, self._calibration, self._file = supervisor, calibration, file
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[InstanceName, tuple[float | None, float | None]] = {}

    def start(self) -> None:
        """Learn from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="learning")

    async def stop(self) -> None:
        """Learn no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def learn(self) -> bool:
        """Take in new measurements; whether there were any."""
        learnt = False
        for instance in self._supervisor.instances():
            report, estimate = instance.report(), instance.spec.raw_estimate
            measured = (report.throughput_per_s, report.latency_p90_s)
            if estimate is None or self._seen.get(instance.spec.name) == measured or measured == (None, None):
                continue
            self._seen[instance.spec.name] = measured
            self._calibration.observe(instance.spec.plugin, instance.spec.variant, estimate, *measured)
            learnt = True
        return learnt

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            if self.learn():
                self._file.save()

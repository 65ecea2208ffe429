"""What an agent costs that has nothing to do. Run: ``python -m benchmarks.agent_idle``.

A real agent process on mosquitto, with the control plane running and no workloads: resident memory (VmRSS) after it
has settled, and processor time over a minute as a share of one core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, row
from benchmarks.running_fleet import RunningFleet, local_config
from fairlead_agent.config import AgentEntry

MIB = 1 << 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LIMIT_MIB = 48.0
LIMIT_PERCENT = 0.5
SETTLE_S, WINDOW_S = 15.0, 60.0
PROFILES = ("edge-box", "phone")


def resident_bytes(pid: int) -> int:
    """VmRSS of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) << 10


def processor_s(pid: int) -> float:
    """User and system time of a process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def watch(pid: int, seconds: float) -> tuple[float, float]:
    """(Largest VmRSS in MiB, processor time in per cent of one core) of a process over a while."""
    began, used = time.monotonic(), processor_s(pid)
    largest = 0
    while (passed := time.monotonic() - began) < seconds:
        largest = max(largest, resident_bytes(pid))
        time.sleep(min(2.0, seconds - passed))
    return largest / MIB, 100 * (processor_s(pid) - used) / (time.monotonic() - began)


def measure(profile: str, options: Options) -> Iterator[Row]:
    """Both rows of one profile."""
    settle_s, window_s = (5.0, 10.0) if options.quick else (SETTLE_S, WINDOW_S)
    with RunningFleet(local_config(agents=(AgentEntry(name="idle", profile=profile),), workloads=())) as fleet:
        process = fleet.local.children["idle"].process
        assert process is not None
        time.sleep(settle_s)
        found = [watch(process.pid, window_s) for _ in range(options.repeats)]
    case = f"1 agent, profile {profile}, no workloads, {window_s:g} s windows"
    memory, processor = zip(*found, strict=True)
    yield row(case, "resident memory (VmRSS)", "MiB", memory, limit=LIMIT_MIB)
    yield row(case, "processor time, share of one core", "%", processor, limit=LIMIT_PERCENT)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/agent_idle.json."""
    options = parse("agent_idle", __doc__, repeats=3, quick=1, arguments=arguments)
    rows = [item for profile in PROFILES for item in measure(profile, options)]
    conditions = {"broker": "mosquitto", "control_plane": "running", "settle_s": SETTLE_S, "window_s": WINDOW_S}
    options.finish(conditions, rows)


if __name__ == "__main__":
    main()

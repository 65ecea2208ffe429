"""The supervisor's times and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead_agent.runtime.backoff import BackoffPolicy


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """Defaults for a device in use; tests shorten them."""

    watch_interval_s: float = 0.5
    """How often memory and the log's size are looked at. The watchdog's limit holds only this often."""

    probe_interval_s: float = 2.0
    probe_timeout_s: float = 10.0
    """A worker that does not answer on control for this long is killed and started again."""

    data_hang_s: float | None = 120.0
    """The same for a data loop that is blocked; None: never."""

    connect_timeout_s: float = 20.0
    """From the start of the process to its control socket."""

    prepare_timeout_s: float | None = None
    """From the start of the process to standby; None: preparing may take as long as it takes."""

    measure_interval_s: float = 5.0
    stop_grace_s: float = 5.0
    """From SIGTERM to SIGKILL."""

    shrink_settle_s: float = 2.0
    """How long memory that a plugin gave back may take to reach the kernel before the smaller limit kills."""

    log_max_bytes: int = 4 * 2**20
    """A worker's log is rotated at this size; one old file is kept."""

    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)

"""The clock that leases count on."""

from __future__ import annotations

import time

from fairlead_agent.cli.doctor.check import Check, Finding


class BoottimeClock(Check):
    """Leases count on CLOCK_BOOTTIME, which goes on while the device sleeps."""

    name = "clock"
    question = "Is there a clock that goes on during sleep?"

    def run(self) -> Finding:
        """Look."""
        number = getattr(time, "CLOCK_BOOTTIME", None)
        if number is None:
            return Finding("problem", "no CLOCK_BOOTTIME", "leases would outlive a sleeping device; use Linux")
        return Finding("ok", f"CLOCK_BOOTTIME, resolution {time.clock_getres(number) * 1e9:.0f} ns")

"""The worker module: what runs in the instance's own process."""

from __future__ import annotations

import atexit
from typing import Any

from fairlead_agent.plugin import Budget, BudgetReply, Context

from .cost import VARIANTS, memory_bytes
from .errors import RadioUnavailable
from .service.application import Application
from .service.calibration import measure
from .service.cell import Cell
from .service.cell_state import cell_of
from .service.front import Front
from .service.metrics import CellCollector
from .service.seat import Seat
from .service.sites import cell_name, settings_at
from .settings import Settings, read_settings


class Worker:
    """One instance: one radio and what schedules it."""

    def __init__(self) -> None:
        self._written = Settings()
        self._settings: Settings | None = None
        self._front: Front | None = None
        self._samples_per_s = 0.0
        self._cell: Cell | None = None
        self._taken = 0.0

    def prepare(self, context: Context) -> None:
        """Take the radio and measure how fast this processor estimates.

        Raises:
            RuntimeError: the variant cannot be had here.
            RadioUnavailable: there is no radio of this kind.
        """
        if context.variant not in VARIANTS:
            raise RuntimeError(f"variant {context.variant}: accepted: {', '.join(VARIANTS)}")
        self._written = read_settings(dict(context.config))
        self._settings = settings = settings_at(self._written, context.replica)
        context.progress(0.1, "looking for the radio")
        self._front = front_of(context.variant, settings)
        context.progress(0.5, "measuring the processor")
        self._samples_per_s = settings.samples_per_s or measure(settings)
        context.progress(1.0, "ready")
        context.log.info("radio prepared", variant=context.variant, elements_per_s=round(self._samples_per_s))

    def application(self, context: Context) -> Any:
        """Start the loops and return the ASGI application."""
        if self._settings is None or self._front is None:
            self.prepare(context)
        assert self._settings is not None and self._front is not None
        written = self._written
        seat = Seat(
            context.replica,
            lambda replica: cell_name(written, replica),
            context,
            lambda replica: settings_at(written, replica),
        )
        self._cell = Cell(self._settings, self._front, context, self._samples_per_s, context.log.warning, seat=seat)
        context.metrics.register(CellCollector(self._cell, context.workload, context.replica))
        self._cell.start()
        # The interpreter must not end under a thread that computes.
        atexit.register(self._cell.close)
        return Application(self._cell, context.metrics).asgi()

    def drain(self) -> None:
        """End all requests: who listens is told so."""
        if self._cell is not None:
            self._cell.close()

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Say what is needed: the looks of a band cannot shrink."""
        least = {} if self._settings is None else {"dram": memory_bytes(self._settings)}
        limit = budget.memory_bytes.get("dram")
        fits = limit is None or least.get("dram", 0) <= limit
        reason = "" if fits else f"intervals of this band need {least['dram']} bytes of dram"
        return BudgetReply(in_use=least, minimum=least, accepted=fits, reason=reason)

    def measurements(self) -> dict[str, float]:
        """Return the time of intervals since the last call; nothing where none was served."""
        if self._cell is None:
            return {}
        counters = self._cell.counters
        new, self._taken = counters.total("estimates") - self._taken, counters.total("estimates")
        if new < 1:
            return {}
        p50, p90 = (counters.quantile("estimate", share, int(new)) for share in (0.5, 0.9))
        return {"latency_p90_s": p90, "throughput_per_s": 1 / p50} if p50 and p90 else {}


def front_of(variant: str, settings: Settings) -> Front:
    """The radio of a variant.

    Raises:
        RadioUnavailable: there is none of this kind here.
    """
    try:
        from .service.radio_front import SimulatedFront
    except ImportError as error:
        raise RadioUnavailable(f"variant {variant}: the firmware bridge has no radios here: {error}") from None
    if variant == "simulated-radio":
        return SimulatedFront(settings, cell_of(settings))
    return soapy_front(settings)


def soapy_front(settings: Settings) -> Front:
    """A software radio, opened once to see that it is there.

    Raises:
        RadioUnavailable: SoapySDR or the device is missing, or it cannot be set as the cell needs.
    """
    from fairlead_bridge.radio.soapy import open_soapy

    from .service.stream_front import StreamFront

    pairs = (part.partition("=") for part in settings.radio.device.split(",") if part)
    arguments = {name.strip(): value.strip() for name, _, value in pairs}
    front = StreamFront(settings, cell_of(settings), lambda configuration: open_soapy(arguments, configuration))
    front.open()
    return front


worker = Worker()

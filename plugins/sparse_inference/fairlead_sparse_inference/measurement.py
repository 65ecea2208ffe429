"""What an instance measured between two reports."""

from __future__ import annotations

from .engine.energy import EnergyAccount
from .engine.telemetry import Telemetry


class Measurement:
    """Takes the difference of the engine's counters from report to report."""

    def __init__(self) -> None:
        self._tokens, self._seconds = 0, 0.0
        self._energy_tokens, self._joules = 0, 0.0

    def take(self, telemetry: Telemetry, energy: EnergyAccount) -> dict[str, float]:
        """Return `throughput_per_s` (tokens a second of decoding) since the last call, and `latency_p90_s`.

        `energy_j` is the whole device's energy a decoded token since the last call. What was not measured is left out.
        """
        tokens, seconds = telemetry.decode_tokens - self._tokens, telemetry.decode_s - self._seconds
        self._tokens, self._seconds = telemetry.decode_tokens, telemetry.decode_s
        found: dict[str, float] = {}
        if tokens and seconds > 0:
            found["throughput_per_s"] = tokens / seconds
        found |= self._take_energy(energy)
        latency_s = telemetry.latency_p90_s
        if latency_s is not None:
            found["latency_p90_s"] = latency_s
        return found

    def _take_energy(self, energy: EnergyAccount) -> dict[str, float]:
        tokens, joules = energy.tokens["decode"] - self._energy_tokens, energy.joules["decode"] - self._joules
        self._energy_tokens, self._joules = energy.tokens["decode"], energy.joules["decode"]
        return {"energy_j": joules / tokens} if tokens else {}

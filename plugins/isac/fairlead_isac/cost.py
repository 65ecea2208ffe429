"""Predicts what an instance does on a node: processor time and memory of intervals of looks.

An interval of looks is sent, received and estimated: T = n c_element + looks c_look. Measured with the simulated radio
on one core: an OFDM symbol and its echoes for each look, then maximum likelihood over all elements.
"""

from __future__ import annotations

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .settings import SUBCARRIERS, Settings

VARIANTS = ("simulated-radio", "soapy-radio")
#: Interpreter, numpy, web server and head room.
BASE_BYTES = 128 * 2**20
#: Copies of an interval in complex128 that are alive at once: sent, received by each channel, mapped.
COPIES, ELEMENT_BYTES = 8, 16
#: Of the interval that bids are made for: looks, and every so many subcarriers lit.
LOOKS, COMB = 64, 4
MOST_LOOKS = 256
#: Processor time of an element of the grid, and of a look.
ELEMENT_S, LOOK_S = 1.2e-6, 6e-4
#: Kept busy by slot decisions and a request or two, in cores.
CORES = 0.4
BASE_STARTUP_S = 2.0
SPREAD = 0.8


def estimate(settings: Settings, facts: NodeFacts) -> Estimate:
    """Predict one instance on this node."""
    interval_s = interval_time_s(settings) / facts.processor.speed_factor
    watts = facts.watts_per_core
    memory = {"dram": memory_bytes(settings)}
    band = f"{settings.cell.bandwidth_hz / 1e6:.0f} MHz"
    return Estimate(
        latency_s=Quantiles.around(interval_s, SPREAD),
        throughput_per_s=Quantiles.around(1 / interval_s, SPREAD),
        throughput_unit="interval",
        memory_bytes=memory,
        memory_minimum_bytes=memory,
        cores=CORES,
        energy_j=Quantiles.around(watts * interval_s, SPREAD) if watts is not None else None,
        startup_s=Quantiles.around(BASE_STARTUP_S / facts.processor.speed_factor, SPREAD),
        reason=f"{band}, an interval of {LOOKS} looks in {interval_s * 1e3:.0f} ms",
    )


def interval_time_s(settings: Settings) -> float:
    """Processor time of one interval."""
    return LOOKS * LOOK_S + elements(settings, LOOKS, COMB) * ELEMENT_S


def elements(settings: Settings, looks: int, comb: int) -> int:
    """Resource elements of an interval."""
    return settings.cell.resource_blocks * SUBCARRIERS // comb * looks


def memory_bytes(settings: Settings) -> int:
    """Main memory of an instance, with the longest interval that is taken at once."""
    copies = COPIES + settings.radio.channels
    return BASE_BYTES + copies * ELEMENT_BYTES * elements(settings, MOST_LOOKS, 2)

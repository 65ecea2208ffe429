"""Predicts what an instance does on a node: processor time and memory of frames of OFDM samples.

A frame is transmitted, received and processed to range and velocity: T = n log2 n c_fft + T_base, n its samples.
"""

from __future__ import annotations

import math

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .settings import SUBCARRIERS, Settings

VARIANTS = ("simulated-radio", "soapy-radio")
#: Interpreter, numpy, web server and head room.
BASE_BYTES = 96 * 2**20
#: Copies of a frame of complex128 that are alive at once: sent, received, windowed, mapped.
COPIES, SAMPLE_BYTES = 8, 16
#: Symbols that are integrated to one map of range and velocity.
FRAME_SYMBOLS = 256
#: Of one butterfly on one core, and of all else in a frame.
FFT_S, FRAME_S = 2.5e-9, 4e-3
BASE_STARTUP_S = 2.0
SPREAD = 0.8


def estimate(settings: Settings, facts: NodeFacts) -> Estimate:
    """Predict one instance on this node."""
    frame_s = (FRAME_S + frame_samples(settings) * math.log2(frame_samples(settings)) * FFT_S) / (
        facts.processor.speed_factor
    )
    watts = facts.watts_per_core
    memory = {"dram": memory_bytes(settings)}
    return Estimate(
        latency_s=Quantiles.around(frame_s, SPREAD),
        throughput_per_s=Quantiles.around(1 / frame_s, SPREAD),
        throughput_unit="frame",
        memory_bytes=memory,
        memory_minimum_bytes=memory,
        cores=min(1.0, max(0.1, facts.processor.cores_free)),
        energy_j=Quantiles.around(watts * frame_s, SPREAD) if watts is not None else None,
        startup_s=Quantiles.around(BASE_STARTUP_S / facts.processor.speed_factor, SPREAD),
        reason=f"{settings.cell.bandwidth_hz / 1e6:.0f} MHz, {FRAME_SYMBOLS} symbols a frame in {frame_s * 1e3:.1f} ms",
    )


def frame_samples(settings: Settings) -> int:
    """Resource elements of a frame."""
    return settings.cell.resource_blocks * SUBCARRIERS * FRAME_SYMBOLS


def memory_bytes(settings: Settings) -> int:
    """Main memory of an instance."""
    return BASE_BYTES + COPIES * SAMPLE_BYTES * frame_samples(settings)

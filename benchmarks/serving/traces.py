"""Which trace is replayed: the Azure code trace's burst where the data is there, else what the plugin generates."""

from __future__ import annotations

from pathlib import Path

from fairlead_elastic_serving.load.traces import (
    BURST_S,
    WINDOW_S,
    WINDOW_START_S,
    Arrival,
    generated,
    read_azure,
    window,
)

__all__ = [
    "AZURE_CODE",
    "BURST_S",
    "WINDOW_S",
    "WINDOW_START_S",
    "Arrival",
    "generated",
    "opened",
    "read_azure",
    "window",
]

AZURE_CODE = Path("traces/AzureLLMInferenceTrace_code.csv")


def opened(data: Path | None, seed: int) -> tuple[list[Arrival], str]:
    """The window of the Azure trace below ``data`` if it is there, else the generated one; and which it is."""
    file = None if data is None else data / AZURE_CODE
    if file is None or not file.exists():
        return generated(seed), "generated in the shape of the Azure code trace"
    return window(read_azure(file)), f"Azure code trace 2023, seconds {WINDOW_START_S:g} to +{WINDOW_S:g}"

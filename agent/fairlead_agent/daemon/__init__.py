"""The agent's daemon: composes the rooms below into what runs on a device."""

# First of all imports: structlog would bring rich, and paho urllib.request, into an agent that has 48 MiB in all.
import fairlead_agent.bus.light_aiomqtt  # pyright: ignore[reportUnusedImport]
import fairlead_agent.runtime.light_structlog  # noqa: F401  # pyright: ignore[reportUnusedImport]

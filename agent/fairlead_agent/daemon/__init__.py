"""The agent's daemon: composes the rooms below into what runs on a device."""

# First of all imports: structlog would bring rich into an agent that has 48 MiB in all.
import fairlead_agent.runtime.light_structlog  # noqa: F401  # pyright: ignore[reportUnusedImport]

"""The agent's daemon: composes the rooms below into what runs on a device."""

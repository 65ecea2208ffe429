"""What an instance of the engine does, in the terminal: `fairlead sparse top` and `fairlead sparse telemetry`."""

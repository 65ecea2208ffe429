"""The light agent that runs on every device of a Fairlead fleet."""

__version__ = "0.1.0"

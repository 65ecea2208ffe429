"""The light agent that runs on every device of a Fairlead fleet."""

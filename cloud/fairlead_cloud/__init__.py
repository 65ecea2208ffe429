"""Control plane, gateway and dashboard of a Fairlead fleet."""

__version__ = "0.1.0"

"""Control plane, gateway and dashboard of a Fairlead fleet."""

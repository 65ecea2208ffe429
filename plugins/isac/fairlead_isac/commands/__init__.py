"""`fairlead isac`."""

"""A worker module that cannot be imported."""

raise ValueError("weights are missing")

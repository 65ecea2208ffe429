"""Scenarios from YAML: what moves, who decides, and what comes of it."""

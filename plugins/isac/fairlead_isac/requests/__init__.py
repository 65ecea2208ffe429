"""Sensing requests: the classes of 3GPP TS 22.137, what they need of a radio, and which of them can be met."""

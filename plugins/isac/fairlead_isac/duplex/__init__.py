"""Sending and hearing at the same time, or in turn."""

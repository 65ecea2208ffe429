"""Styles of paintings on pictures and scenes, fast enough for an edge device.

Import from the parts: `transform` (statistics), `networks`, `losses`, `checkpoints`, `training`, `quality`.
Nothing is imported here.
"""

"""The graph index."""

"""TSSAT's two stages: statistics of the whole style, then of its best fitting patches (NumPy and torch)."""

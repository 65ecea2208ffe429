"""Pictures (the ``plots`` extra: matplotlib)."""

"""Cluster indexes: codes in memory, exact vectors in a tier, one round trip a query."""

from .list_index import ListIndex

__all__ = ["ListIndex"]

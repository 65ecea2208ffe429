"""A vector store whose index may lie in a lower memory tier.

Import from the parts: `store` (collections), `index` (what every index offers), `tiers` (regions of memory and files),
`service` (HTTP API and client), `light` (what a node bids), `worker` (an instance). Nothing is imported here.
"""

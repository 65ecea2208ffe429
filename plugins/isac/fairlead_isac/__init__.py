"""Integrated sensing and communication: one radio serves users and senses targets.

Import from the parts: `physics` (what waves do), `solvers` (one slot's optimisation), `stages` (four ways to share a
radio), `granularity` (layers by period), `collaboration` (several cells), `requests` (sensing requests and admission),
`service` (slot loop and HTTP API), `light` (what a node bids), `worker` (an instance). Nothing is imported here.
"""

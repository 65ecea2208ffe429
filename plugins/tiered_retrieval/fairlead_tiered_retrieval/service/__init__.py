"""The HTTP API of a store, and its client."""

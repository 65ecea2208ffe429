"""Loaders of the community's files: strict, and nothing in a file is run."""

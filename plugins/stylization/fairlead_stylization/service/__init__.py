"""The HTTP service of an instance."""

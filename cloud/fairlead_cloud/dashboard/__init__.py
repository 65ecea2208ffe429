"""The dashboard: static files, no build step."""

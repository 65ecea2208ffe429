"""3D scenes: read, stylized once in a pattern space that all views share, rendered fast, exported."""

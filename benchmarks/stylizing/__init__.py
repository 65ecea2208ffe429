"""Parts of the stylization benchmark: pictures, methods."""

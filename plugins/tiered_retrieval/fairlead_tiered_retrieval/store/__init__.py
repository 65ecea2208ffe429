"""Collections of documents with vectors, metadata and texts that survive crashes. Import from the parts."""

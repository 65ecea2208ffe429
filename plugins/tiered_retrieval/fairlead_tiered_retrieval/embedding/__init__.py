"""Vectors of texts, made on the device: sentence-transformers folders of BERT encoders, in NumPy."""

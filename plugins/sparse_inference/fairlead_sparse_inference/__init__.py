"""Sparse language-model inference for phones and PCs."""

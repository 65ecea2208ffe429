"""Decoders in torch whose weights and keys and values stand in the pages of one arena."""

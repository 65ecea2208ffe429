"""Encoders and decoders (torch): the student that ships, VGG-19 and its slim form, decoders, MicroAST."""

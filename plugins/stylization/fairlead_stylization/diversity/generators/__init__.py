"""Deterministic generators to search with: super-resolution, inpainting, colorization.

Each takes pictures float32 [n, 3, height, width] in [0, 1] and gives such pictures, in torch, differentiable.
"""

"""Turns SwiGLU models into dReLU ones by continued training (TurboSparse, section 4)."""

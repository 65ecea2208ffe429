"""Waveforms, channels, echoes, and what can be learned from them.

Conventions of all modules: grids are complex [subcarriers, symbols]; a channel ``h`` [antennas] is received as
``h^H x``; a steering vector ``a`` has elements of modulus 1, so that ``a^H R a`` is the illumination in watts (times
the array's gain); noise power is that of both parts of the complex noise together.
"""

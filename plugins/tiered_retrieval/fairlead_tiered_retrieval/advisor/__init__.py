"""Which index, codes, layout and tier for which data, device and target, and why. `costs` needs no NumPy."""

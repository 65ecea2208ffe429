"""Pages for weights, keys and values: who holds which. Numbers only; the bytes are the kernels' matter."""

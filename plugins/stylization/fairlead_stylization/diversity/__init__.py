"""Many different results of a generator that has only one: small changes of what goes in, found, not guessed.

After "Attack deterministic conditional image generative models for diverse and controllable generation" (AAAI 2024).
"""

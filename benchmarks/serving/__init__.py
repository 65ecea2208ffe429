"""What the serving benchmarks share: a small model, traces, their scale, replay and statistics."""

"""A link worse than the machine's: delay, jitter, loss, reordering and a trace's rate, over TUN devices."""

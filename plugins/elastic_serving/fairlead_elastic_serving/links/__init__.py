"""How instances talk to each other: pairs of processes, lanes, timeouts. Nobody waits for one that is dead."""

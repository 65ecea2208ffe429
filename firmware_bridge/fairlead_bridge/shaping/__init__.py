"""How fast each kind of traffic may go: plans for queueing disciplines, applied as transactions."""

"""Load for servers of language models: when requests come, how long they are, and what their clients see."""

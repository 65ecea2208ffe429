"""A collection over several instances: who holds what, searches that ask all shards, replicas that stay alike."""

"""Checkpoints become bundle directories: packed weights whose neurons can be read one by one."""

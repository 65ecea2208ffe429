"""What a scenario looks like: the stages' region, and a range-Doppler map of its targets."""

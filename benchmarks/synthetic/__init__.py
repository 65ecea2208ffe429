"""A synthetic model of 0.99 billion weights whose feed-forward layers are as sparse as a real one's, scaled to 10 %."""

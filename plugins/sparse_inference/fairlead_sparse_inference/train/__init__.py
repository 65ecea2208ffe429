"""Training of the small dReLU model that ships with the plugin; needs PyTorch, which nothing else here does."""

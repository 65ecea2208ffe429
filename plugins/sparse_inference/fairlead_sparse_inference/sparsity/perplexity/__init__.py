"""What a text costs a model: perplexity, exact and with neurons left out."""

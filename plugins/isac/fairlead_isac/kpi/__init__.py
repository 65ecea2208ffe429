"""What a cell achieves, told as records, metrics and link facts."""

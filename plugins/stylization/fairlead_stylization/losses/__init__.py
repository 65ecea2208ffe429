"""What networks are trained on: TSSAT's losses (ACM MM 2023, section 3.3) over activations of VGG-19 (torch)."""

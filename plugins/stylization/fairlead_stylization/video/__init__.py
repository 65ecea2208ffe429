"""Moving pictures: frames in and out, and stylization that does not flicker."""

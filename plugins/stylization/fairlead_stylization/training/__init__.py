"""Training of the student: pictures, objective, loop."""

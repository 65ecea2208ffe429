"""Measures of stylized pictures, and the split of pictures: for training, for the last measurement."""

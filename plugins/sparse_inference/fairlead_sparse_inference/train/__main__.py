"""`python -m fairlead_sparse_inference.train` is `fairlead train-tiny`."""

from .command import train_tiny

train_tiny()

"""Keys and values of mixed precision in unified pages: NumPy reference, torch, and Triton.

`reference` is what the others are tested against; `torch_backend` runs wherever torch does; `triton_backend` runs on
a GPU, and in Triton's interpreter. All three take the same arguments (see `reference`).
"""

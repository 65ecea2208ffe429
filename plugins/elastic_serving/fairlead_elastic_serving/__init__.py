"""Language-model serving whose memory moves between weights and keys and values.

Import from the parts: `light` (what a node bids), `worker` (an instance), `engine`, `arena` (pages), `kernels`
(mixed-precision keys and values), `planning` (who gives what away when). Nothing is imported here.
"""

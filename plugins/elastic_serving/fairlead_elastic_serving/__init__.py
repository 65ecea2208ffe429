"""Language-model serving whose memory moves between weights and keys and values.

Import from the parts: `arena` (pages), `kernels` (mixed-precision keys and values), `planning` (who gives what away
when). Nothing is imported here. There is no manifest yet: the parts are not composed to an engine that could bid for
a workload.
"""

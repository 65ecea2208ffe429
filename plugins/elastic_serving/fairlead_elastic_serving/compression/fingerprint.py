"""Which model a calibration is for."""

from __future__ import annotations

import hashlib

import numpy as np

from fairlead_language_model.checkpoint import Checkpoint

_ROWS = 8


def fingerprint(checkpoint: Checkpoint) -> str:
    """Return a name of a checkpoint's shape and weights that does not depend on where it lies or how it is stored.

    Of a few thousand weights of the last query projection the mean size is taken to two digits: enough to tell models
    of one shape apart, too coarse to see in how many bits they are stored.
    """
    config = checkpoint.config
    shape = (
        config.architecture,
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size,
    )
    digest = hashlib.sha256(repr(shape).encode())
    name = f"model.layers.{config.num_hidden_layers - 1}.self_attn.q_proj.weight"
    matrix = (config.num_attention_heads * config.head_dim, config.hidden_size)
    rows = np.abs(checkpoint.array(name, matrix)[:: max(1, matrix[0] // _ROWS)]).mean(axis=1, dtype=np.float64)
    digest.update(",".join(f"{size:.1e}" for size in rows).encode())
    return digest.hexdigest()[:16]

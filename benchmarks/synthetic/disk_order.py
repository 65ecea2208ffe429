"""The order of a layer's neurons in the bundle file, from a profile as `fairlead sparse convert --profile` has it."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from fairlead_sparse_inference.sparsity.profile.coactivation import chain_order, jaccard, joint_counts

#: The part of the text that the profile reads: its end, which no prompt of a full run comes to.
PROFILED = 0.25
#: Shares of the neurons, the most frequent first, that keep together: a cache or an accelerator of any size then takes
#: a leading part of the file, and what is read lies close.
TIERS = (0.1, 0.3, 0.5, 1.0)


def disk_order(active: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The neuron at each place, int32 [neurons], given which are active in each state [states, neurons].

    Tiers by frequency; inside each, but for the first, which is read whole, those that are active together lie
    side by side.
    """
    profiled = np.packbits(active[-max(1, int(PROFILED * len(active))) :], axis=1)
    counts = joint_counts(profiled, active.shape[1])
    index, ranked = jaccard(counts), np.argsort(-np.diagonal(counts), kind="stable")
    ends = [round(share * len(ranked)) for share in TIERS]
    parts = [ranked[: ends[0]]]
    for start, end in itertools.pairwise(ends):
        tier = ranked[start:end]
        inside = np.ix_(tier, tier)
        parts.append(tier[chain_order(counts[inside], index[inside])])
    return np.concatenate(parts).astype(np.int32)

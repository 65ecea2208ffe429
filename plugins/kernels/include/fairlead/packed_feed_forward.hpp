#pragma once

#include <cstdint>
#include <vector>

#include "fairlead/feed_forward.hpp"

namespace fairlead {

// The matrices may be views of one array of bundles.
using PackedFeedForwardView = FeedForwardOver<PackedView>;

struct PackedFeedForwardScratch : FeedForwardScratch {
    // Active neurons of each chunk of candidates.
    std::vector<std::uint32_t> found;
};

// One token, whose normalized hidden state is vector 0 of x. Reads the gate rows of `candidates` (all neurons when
// null), up rows of the active among them and down rows where the product is not zero. Sums in the order of the
// candidates. Returns the number of active neurons: those whose gate function is not zero.
std::size_t feed_forward_packed(const KernelTable& k, const PackedFeedForwardView& layer, const QuantizedInput& x,
                                const std::int32_t* candidates, std::size_t count, PackedFeedForwardScratch& scratch,
                                float* y);

// Several tokens; the same result bit for bit for each. Only `candidates` are computed (all neurons when null).
// Adds each neuron's active tokens to counts[neuron] when counts is given. Returns the sum of the tokens' active
// neurons.
std::size_t feed_forward_packed_batch(const KernelTable& k, const PackedFeedForwardView& layer,
                                      const QuantizedInput& x, const std::int32_t* candidates, std::size_t count,
                                      PackedFeedForwardScratch& scratch, float* y, std::int64_t* counts);

}  // namespace fairlead

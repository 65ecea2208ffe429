#pragma once

#include <cstdint>
#include <vector>

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// y = down(gate_function(gate x) * up_function(up x)); all three matrices hold one neuron a row.
struct FeedForwardView {
    Q8View gate;
    Q8View up;
    Q8View down_t;
    Activation activation = Activation::drelu;
    float threshold = 0.0F;
};

// Buffers that calls reuse. After a call for one token, `neurons` holds the active ones.
struct FeedForwardScratch {
    std::vector<float> gate;
    std::vector<float> up;
    std::vector<std::int32_t> neurons;
    std::vector<std::int32_t> contributing;
};

// One token. Reads the gate rows of `candidates` (all neurons when null), up rows of the active among them and
// down rows where the product is not zero. Sums in the order of the candidates. Returns the number of active
// neurons: those whose gate function is not zero.
std::size_t feed_forward(const KernelTable& k, const FeedForwardView& layer, const float* x,
                         const std::int32_t* candidates, std::size_t count, FeedForwardScratch& scratch, float* y);

// Several tokens, dense; the same result bit for bit. Adds each neuron's active tokens to counts[neuron] when
// counts is given. Returns the sum of the tokens' active neurons.
std::size_t feed_forward_batch(const KernelTable& k, const FeedForwardView& layer, const float* x,
                               std::size_t tokens, FeedForwardScratch& scratch, float* y, std::int64_t* counts);

}  // namespace fairlead

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fairlead::pictures {

// Discs on the picture plane, in pixels; the middle of the first pixel is at 0.5, 0.5.
struct Discs {
    const float* at;      // [count, 2]
    const float* depth;   // [count]; discs at 0 and below are not there
    const float* radius;  // [count]
    const float* slack;   // [count], a disc is seen up to so many times the nearest one's depth
    std::size_t count;
};

// Which pixel shows how much of which disc; the weights of a pixel are above 0 and sum to 1.
struct Splats {
    std::vector<std::int32_t> pixels, discs;
    std::vector<float> weights;
};

// Fills depth [height * width] with the mean of what a pixel shows, infinite where there is nothing.
Splats splat(const Discs& discs, std::size_t width, std::size_t height, float* depth);

// For each k of count: sums[targets[k]] += weights[k] * values[sources[k]], rows of so many channels.
struct Shares {
    const std::int32_t *targets, *sources;  // [count]
    const float* weights;                   // [count]
    std::size_t count;
};
void add_shares(const Shares& shares, const float* values, std::size_t channels, float* sums);

}  // namespace fairlead::pictures

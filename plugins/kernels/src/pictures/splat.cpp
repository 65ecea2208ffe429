#include "fairlead/pictures/splat.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fairlead::pictures {
namespace {

// Calls with every pixel that a disc reaches and the square of its middle's distance.
template <class Visit>
void footprint(const Discs& discs, std::size_t i, std::ptrdiff_t width, std::ptrdiff_t height, const Visit& visit) {
    if (!(discs.depth[i] > 0)) return;
    const float x = discs.at[2 * i], y = discs.at[2 * i + 1], radius = discs.radius[i];
    // Also false for places that are not numbers, and before anything is cast.
    const bool near = x > -radius && y > -radius && x < static_cast<float>(width) + radius &&
                      y < static_cast<float>(height) + radius;
    if (!near) return;
    const float reach = radius + 0.25f;
    const auto reached = static_cast<std::ptrdiff_t>(std::ceil(radius));
    const auto column = static_cast<std::ptrdiff_t>(std::floor(x)), row = static_cast<std::ptrdiff_t>(std::floor(y));
    for (auto v = std::max<std::ptrdiff_t>(0, row - reached); v <= std::min(height - 1, row + reached); ++v) {
        const float down = static_cast<float>(v) + 0.5f - y;
        for (auto u = std::max<std::ptrdiff_t>(0, column - reached); u <= std::min(width - 1, column + reached); ++u) {
            const float across = static_cast<float>(u) + 0.5f - x, square = across * across + down * down;
            if (square <= reach * reach) visit(static_cast<std::size_t>(v * width + u), square);
        }
    }
}

}  // namespace

Splats splat(const Discs& discs, std::size_t width, std::size_t height, float* depth) {
    const auto w = static_cast<std::ptrdiff_t>(width), h = static_cast<std::ptrdiff_t>(height);
    std::fill_n(depth, width * height, std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < discs.count; ++i)
        footprint(discs, i, w, h, [&](std::size_t pixel, float) { depth[pixel] = std::min(depth[pixel], discs.depth[i]); });
    Splats found;
    std::vector<float> total(width * height, 0.0f);
    for (std::size_t i = 0; i < discs.count; ++i) {
        const float wide = std::max(discs.radius[i], 0.5f), scale = -1.5f / (wide * wide);
        footprint(discs, i, w, h, [&](std::size_t pixel, float square) {
            if (discs.depth[i] > depth[pixel] * discs.slack[i]) return;
            const float weight = std::exp(scale * square);
            total[pixel] += weight;
            found.pixels.push_back(static_cast<std::int32_t>(pixel));
            found.discs.push_back(static_cast<std::int32_t>(i));
            found.weights.push_back(weight);
        });
    }
    for (std::size_t k = 0; k < found.weights.size(); ++k)
        found.weights[k] /= total[static_cast<std::size_t>(found.pixels[k])];
    return found;
}

}  // namespace fairlead::pictures

#include "fairlead/pictures/splat.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fairlead::pictures {
namespace {

// A disc's weight falls off over this share of its radius, and so many pixels at least: where discs are dense a pixel
// shows those at its middle, where they are sparse those that reach it.
constexpr float kSharp = 0.7f, kLeast = 0.6f;
// Added to the second moments, in squares of pixels: what lies on one side of a pixel only is not extrapolated far.
constexpr double kRidge = 0.02;

// Calls with every pixel that a disc reaches and its middle's offset from the disc's.
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
            const float across = static_cast<float>(u) + 0.5f - x;
            if (across * across + down * down <= reach * reach)
                visit(static_cast<std::size_t>(v * width + u), across, down);
        }
    }
}

// Sums over what a pixel shows; then the slope by which weights are changed.
struct Moments {
    double total = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;

    void add(double weight, double across, double down) {
        total += weight;
        x += weight * across;
        y += weight * down;
        xx += weight * across * across;
        xy += weight * across * down;
        yy += weight * down * down;
    }
    // Moving least squares: with weights times 1 + slope, the mean place is the pixel's middle.
    void solve() {
        const double a = xx + kRidge * total, c = yy + kRidge * total, determinant = a * c - xy * xy;
        const double slope_x = -(x * c - y * xy) / determinant, slope_y = -(y * a - x * xy) / determinant;
        x = slope_x;
        y = slope_y;
        total = 0;
    }
};

}  // namespace

Splats splat(const Discs& discs, std::size_t width, std::size_t height, float* depth) {
    const auto w = static_cast<std::ptrdiff_t>(width), h = static_cast<std::ptrdiff_t>(height);
    std::fill_n(depth, width * height, std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < discs.count; ++i)
        footprint(discs, i, w, h, [&](std::size_t pixel, float, float) {
            depth[pixel] = std::min(depth[pixel], discs.depth[i]);
        });
    Splats found;
    std::vector<float> offsets;
    std::vector<Moments> moments(width * height);
    for (std::size_t i = 0; i < discs.count; ++i) {
        const float wide = std::max(kSharp * discs.radius[i], kLeast), scale = -1.5f / (wide * wide);
        footprint(discs, i, w, h, [&](std::size_t pixel, float across, float down) {
            if (discs.depth[i] > depth[pixel] * discs.slack[i]) return;
            const float weight = std::exp(scale * (across * across + down * down));
            moments[pixel].add(weight, across, down);
            found.pixels.push_back(static_cast<std::int32_t>(pixel));
            found.discs.push_back(static_cast<std::int32_t>(i));
            found.weights.push_back(weight);
            offsets.push_back(across);
            offsets.push_back(down);
        });
    }
    for (Moments& each : moments)
        if (each.total > 0) each.solve();
    std::size_t kept = 0;
    for (std::size_t k = 0; k < found.weights.size(); ++k) {
        Moments& each = moments[static_cast<std::size_t>(found.pixels[k])];
        const double weight = found.weights[k] * (1 + each.x * offsets[2 * k] + each.y * offsets[2 * k + 1]);
        if (!(weight > 0)) continue;
        each.total += weight;
        found.pixels[kept] = found.pixels[k];
        found.discs[kept] = found.discs[k];
        found.weights[kept++] = static_cast<float>(weight);
    }
    found.pixels.resize(kept);
    found.discs.resize(kept);
    found.weights.resize(kept);
    for (std::size_t pixel = 0; pixel < width * height; ++pixel)
        if (depth[pixel] < std::numeric_limits<float>::infinity()) depth[pixel] = 0;
    for (std::size_t k = 0; k < kept; ++k) {
        const auto pixel = static_cast<std::size_t>(found.pixels[k]);
        found.weights[k] = static_cast<float>(found.weights[k] / moments[pixel].total);
        depth[pixel] += found.weights[k] * discs.depth[static_cast<std::size_t>(found.discs[k])];
    }
    return found;
}

void add_shares(const Shares& shares, const float* values, std::size_t channels, float* sums) {
    // Colours are what is asked for most: a known length is unrolled.
    if (channels == 3) {
        for (std::size_t k = 0; k < shares.count; ++k) {
            const float* from = values + static_cast<std::size_t>(shares.sources[k]) * 3;
            float* to = sums + static_cast<std::size_t>(shares.targets[k]) * 3;
            const float weight = shares.weights[k], red = from[0], green = from[1], blue = from[2];
            const float sum_red = to[0] + weight * red, sum_green = to[1] + weight * green;
            const float sum_blue = to[2] + weight * blue;
            to[0] = sum_red;
            to[1] = sum_green;
            to[2] = sum_blue;
        }
        return;
    }
    for (std::size_t k = 0; k < shares.count; ++k) {
        const float* from = values + static_cast<std::size_t>(shares.sources[k]) * channels;
        float* to = sums + static_cast<std::size_t>(shares.targets[k]) * channels;
        for (std::size_t channel = 0; channel < channels; ++channel) to[channel] += shares.weights[k] * from[channel];
    }
}

}  // namespace fairlead::pictures

#pragma once

#include <cstddef>

#include "fairlead/pictures/feature_map.hpp"

namespace fairlead::pictures {

// TSSAT's local stage: squares of this side are compared, and those of the content lie this far apart.
inline constexpr std::size_t kPatch = 5, kHop = 3;
inline constexpr float kEpsilon = 1e-5f;
// Deviations of flat tiles are not divided by: in normalized features this is small.
inline constexpr float kFloor = 0.1f;

// Squares at every `hop` places of [height, width, channels].
struct Grid {
    std::size_t height, width, channels, hop;

    std::size_t rows() const { return (height - kPatch) / hop + 1; }
    std::size_t columns() const { return (width - kPatch) / hop + 1; }
};

struct LocalStage {
    FeatureMap features;  // of the content, floats; at least a patch high and wide
    const float* own;     // their means, then deviations, [2 C]
    const float* style;   // those of the style's features, [2 C]
    // Of S styles: n patches' first `matching` channels by channel, row and column [S, n, D], means and deviations
    // [S, n, C], weights [S].
    const float *filters, *means, *deviations, *weights;
    std::size_t styles, patches, matching;
    float strength;     // 0 (the features) to 1
    FeatureMap target;  // gets the result, negative numbers as 0
};

// One ISA's kernels of the local stage; each does rows [first, last).
struct StageKernels {
    // (features - means) / deviations -> [H, W, C].
    void (*normalize)(const FeatureMap& features, const float* own, float* normal, std::size_t first, std::size_t last);
    // Means and deviations of squares, [rows, columns, C] each.
    void (*measure)(const Grid& grid, const float* normal, float* means, float* deviations, std::size_t first,
                    std::size_t last);
    // Scales, then shifts, of squares [rows, columns, 2 C], linear between their centres, on rows of the features.
    void (*restyle)(const LocalStage& work, const float* normal, const float* coefficients, std::size_t first,
                    std::size_t last);
    float (*dot)(const float* one, const float* other, std::size_t count);
    // The largest of `count` numbers, and where those of at least `least` are: how many, and their places.
    float (*most)(const float* numbers, std::size_t count);
    std::size_t (*above)(const float* numbers, std::size_t count, float least, std::size_t* places);
    // To bfloat16; the length of what that took. Reads and writes up to a multiple of 16.
    float (*round)(const float* values, std::size_t count, std::uint16_t* halves);
};

void restyle(const LocalStage& work);

// A style's patches: filters of unit length [n, D], means and deviations [n, C], from features and their statistics.
void take_patches(const FeatureMap& features, const float* own, std::size_t matching, float* filters, float* means,
                  float* deviations);

}  // namespace fairlead::pictures

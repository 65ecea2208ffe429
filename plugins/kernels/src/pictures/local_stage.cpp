#include "fairlead/pictures/local_stage.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "fairlead/thread_pool.hpp"

namespace fairlead::pictures {
namespace {

constexpr std::size_t kSquare = kPatch * kPatch;
// Numbers of a row of filters in bfloat16 come in multiples of this.
constexpr std::size_t kRun = 32;
// Tiles that are compared at once, at most.
constexpr std::size_t kTiles = 48;

std::size_t rounded_up(std::size_t count, std::size_t by) { return (count + by - 1) / by * by; }

// Numbers that are all written before they are read.
using Floats = std::unique_ptr<float[]>;

Floats unwritten(std::size_t count) { return std::make_unique_for_overwrite<float[]>(count); }

// The first channels of [height, width, channels], one plane after another.
Floats planes(const Grid& grid, const float* normal, std::size_t count) {
    const std::size_t places = grid.height * grid.width;
    Floats found = unwritten(count * places);
    parallel_for(places, 512, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t place = first; place < last; ++place)
            for (std::size_t c = 0; c < count; ++c) found[c * places + place] = normal[place * grid.channels + c];
    });
    return found;
}

// A square's numbers by channel, row and column.
void take_square(const Grid& grid, const float* planes, std::size_t count, std::size_t row, std::size_t column,
                 float* to) {
    const float* from = planes + row * grid.hop * grid.width + column * grid.hop;
    for (std::size_t c = 0; c < count; ++c)
        for (std::size_t v = 0; v < kPatch; ++v, to += kPatch)
            std::memcpy(to, from + (c * grid.height + v) * grid.width, kPatch * sizeof(float));
}

float norm(const float* values, std::size_t count, const StageKernels& kernels) {
    return std::sqrt(kernels.dot(values, values, count));
}

// A style's filters as convolutions of a run of numbers take them; the last group is filled with nothing.
struct Packed {
    const float* filters;  // [count, length]
    std::size_t count, length, run, outputs;
    bool halved;
    std::vector<float> floats;
    std::vector<std::uint16_t> halves;
    float size = 0, rest = 0;  // of the longest filter, of the most that was rounded away; halves alone
};

Packed packed(const float* filters, std::size_t count, std::size_t length, bool halved, const StageKernels& kernels) {
    const std::size_t run = rounded_up(length, kRun), groups = (count + kGroup - 1) / kGroup;
    Packed found{filters, count, length, run, groups * kGroup, halved, {}, {}};
    std::vector<float> sizes(count), rests(count);
    if (halved) {
        found.halves.resize(found.outputs * run);
    } else {
        found.floats.resize(found.outputs * run);
    }
    parallel_for(groups, 4, 1, [&](std::size_t first, std::size_t last) {
        std::vector<std::uint16_t> rounded(kGroup * run);
        std::vector<float> filled(run);
        for (std::size_t group = first; group < last; ++group) {
            const std::size_t start = group * kGroup, most = std::min(kGroup, count - start);
            std::fill(rounded.begin(), rounded.end(), std::uint16_t{0});
            for (std::size_t f = 0; f < most; ++f) {
                const float* from = filters + (start + f) * length;
                if (halved) {
                    sizes[start + f] = norm(from, length, kernels);
                    std::copy_n(from, length, filled.data());
                    rests[start + f] = kernels.round(filled.data(), length, &rounded[f * run]);
                } else {
                    for (std::size_t k = 0; k < length; ++k) found.floats[(group * run + k) * kGroup + f] = from[k];
                }
            }
            if (!halved) continue;
            std::uint16_t* to = &found.halves[group * run * kGroup];
            for (std::size_t k = 0; k < run; k += 2) {
                for (std::size_t f = 0; f < kGroup; ++f) {
                    // Pairs of numbers lie side by side.
                    std::memcpy(to + k * kGroup + 2 * f, &rounded[f * run + k], 2 * sizeof(std::uint16_t));
                }
            }
        }
    });
    if (halved) {
        found.size = *std::max_element(sizes.begin(), sizes.end());
        found.rest = *std::max_element(rests.begin(), rests.end());
    }
    return found;
}

// A few tiles' squares as a row of a map, what they were before rounding, and what that took of each.
struct Tiles {
    Tiles(std::size_t width, const Packed& by)
        : by(by), whole(width * by.run), halves(by.halved ? width * by.run + slack(by.run) : 0), sizes(width),
          rests(width), scores(width * by.outputs + slack(by.outputs)), places(by.count) {
        if (!by.halved) whole.resize(width * by.run + slack(by.run));
    }

    void take(const Grid& grid, const float* planar, std::size_t first, std::size_t count, const StageKernels& kernels) {
        for (std::size_t tile = 0; tile < count; ++tile) {
            const std::size_t at = first + tile;
            float* to = &whole[tile * by.run];
            take_square(grid, planar, by.length / kSquare, at / grid.columns(), at % grid.columns(), to);
            if (!by.halved) continue;
            sizes[tile] = norm(to, by.length, kernels);
            rests[tile] = kernels.round(to, by.length, &halves[tile * by.run]);
        }
    }

    // Correlations of `count` tiles with all filters.
    void correlate(std::size_t count, const float* bias) {
        const Format format = by.halved ? Format::halves : Format::floats;
        void* data = by.halved ? static_cast<void*>(halves.data()) : static_cast<void*>(whole.data());
        const void* filters = by.halved ? static_cast<const void*>(by.halves.data()) : by.floats.data();
        const FeatureMap source{data, 1, count, by.run, 0, format};
        const FeatureMap result{scores.data(), 1, count, by.outputs, 0, Format::floats};
        Convolution work{source, filters, bias, 1, 1, 1, count, by.outputs};
        work.kept = &result;
        convolve(work);
    }

    // A tile's best filter. Where correlations are those of rounded numbers, all that may be the best by what rounding
    // can have changed are compared once more as they were.
    std::size_t best(std::size_t tile, const StageKernels& kernels) {
        const float* score = &scores[tile * by.outputs];
        float least = kernels.most(score, by.count);
        // |<t, f> - <t', f'>| <= |t - t'| |f| + |t'| |f - f'|; sums in float32 are exact to much less.
        if (by.halved)
            least -= 2 * (rests[tile] * by.size + (sizes[tile] + rests[tile]) * by.rest + 1e-5f * sizes[tile] * by.size);
        const std::size_t count = kernels.above(score, by.count, least, places.data());
        if (count == 1 || !by.halved) return places[0];
        std::size_t found = places[0];
        float most = -std::numeric_limits<float>::infinity();
        for (std::size_t i = 0; i < count; ++i) {
            const float exact = kernels.dot(&whole[tile * by.run], by.filters + places[i] * by.length, by.length);
            if (exact > most) found = places[i], most = exact;
        }
        return found;
    }

    const Packed& by;
    std::vector<float> whole;           // [width, run]
    std::vector<std::uint16_t> halves;  // [width, run]
    std::vector<float> sizes, rests;    // of each tile, of what was rounded away
    std::vector<float> scores;          // [width, outputs]
    std::vector<std::size_t> places;    // of filters that may be the best
};

// Of each tile, the patch of a style that correlates best.
std::vector<std::size_t> matches(const Grid& grid, const float* planar, const Packed& by, const StageKernels& kernels) {
    const std::size_t count = grid.rows() * grid.columns(), rows = (count + kTiles - 1) / kTiles;
    const std::vector<float> bias(by.outputs);
    std::vector<std::size_t> found(count);
    parallel_for(rows, 1, 1, [&](std::size_t begin, std::size_t end) {
        Tiles tiles((count + rows - 1) / rows, by);
        for (std::size_t row = begin; row < end; ++row) {
            const std::size_t first = row * count / rows, last = (row + 1) * count / rows;
            tiles.take(grid, planar, first, last - first, kernels);
            tiles.correlate(last - first, bias.data());
            for (std::size_t tile = first; tile < last; ++tile) found[tile] = tiles.best(tile - first, kernels);
        }
    });
    return found;
}

// Scales, then shifts, of each tile [tiles, 2 C], the global stage's in them.
std::vector<float> coefficients(const LocalStage& work, const Grid& grid, const float* normal,
                                const StageKernels& kernels) {
    const std::size_t channels = grid.channels, count = grid.rows() * grid.columns();
    std::vector<float> means(count * channels), deviations(count * channels), found(count * 2 * channels);
    parallel_for(grid.rows(), 2, 1, [&](std::size_t first, std::size_t last) {
        kernels.measure(grid, normal, means.data(), deviations.data(), first, last);
    });
    const bool halved = std::string_view(halves_by()) != "floats";
    const auto planar = planes(grid, normal, work.matching);
    const std::size_t length = work.matching * kSquare;
    for (std::size_t style = 0; style < work.styles; ++style) {
        const float weight = work.weights[style];
        const std::size_t start = style * work.patches;
        const Packed by = packed(work.filters + start * length, work.patches, length, halved, kernels);
        const auto best = matches(grid, planar.get(), by, kernels);
        for (std::size_t tile = 0; tile < count; ++tile) {
            float* to = &found[tile * 2 * channels];
            const float* spread = work.deviations + (start + best[tile]) * channels;
            const float* mean = work.means + (start + best[tile]) * channels;
            for (std::size_t c = 0; c < channels; ++c) {
                to[c] += weight * spread[c];
                to[channels + c] += weight * mean[c];
            }
        }
    }
    const float *mean = work.style, *deviation = work.style + channels;
    for (std::size_t tile = 0; tile < count; ++tile) {
        float *scale = &found[tile * 2 * channels], *shift = scale + channels;
        for (std::size_t c = 0; c < channels; ++c) {
            const float by = scale[c] / std::max(deviations[tile * channels + c], kFloor);
            shift[c] = (shift[c] - by * means[tile * channels + c]) * deviation[c] + mean[c];
            scale[c] = by * deviation[c];
        }
    }
    return found;
}

Floats normalized(const FeatureMap& features, const float* own, const StageKernels& kernels) {
    Floats normal = unwritten(features.height * features.width * features.channels);
    parallel_for(features.height, 8, 1, [&](std::size_t first, std::size_t last) {
        kernels.normalize(features, own, normal.get(), first, last);
    });
    return normal;
}

}  // namespace

void restyle(const LocalStage& work) {
    const StageKernels& kernels = *map_kernels().stage;
    const auto normal = normalized(work.features, work.own, kernels);
    const Grid grid{work.features.height, work.features.width, work.features.channels, kHop};
    const auto found = coefficients(work, grid, normal.get(), kernels);
    parallel_for(grid.height, 8, 1, [&](std::size_t first, std::size_t last) {
        kernels.restyle(work, normal.get(), found.data(), first, last);
    });
}

void take_patches(const FeatureMap& features, const float* own, std::size_t matching, float* filters, float* means,
                  float* deviations) {
    const StageKernels& kernels = *map_kernels().stage;
    const auto normal = normalized(features, own, kernels);
    const Grid grid{features.height, features.width, features.channels, 1};
    parallel_for(grid.rows(), 4, 1, [&](std::size_t first, std::size_t last) {
        kernels.measure(grid, normal.get(), means, deviations, first, last);
    });
    const auto planar = planes(grid, normal.get(), matching);
    const std::size_t length = matching * kSquare;
    parallel_for(grid.rows() * grid.columns(), 32, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t patch = first; patch < last; ++patch) {
            float* to = filters + patch * length;
            take_square(grid, planar.get(), matching, patch / grid.columns(), patch % grid.columns(), to);
            const float by = 1.0f / std::max(norm(to, length, kernels), kEpsilon);
            for (std::size_t i = 0; i < length; ++i) to[i] *= by;
        }
    });
}

}  // namespace fairlead::pictures

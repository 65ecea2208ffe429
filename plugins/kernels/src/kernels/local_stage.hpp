#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "fairlead/pictures/local_stage.hpp"
#include "kernels/map_lanes.hpp"

namespace fairlead::pictures {
namespace {

void normalize_rows(const FeatureMap& map, const float* own, float* normal, std::size_t first, std::size_t last) {
    const std::size_t channels = map.channels;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t column = 0; column < map.width; ++column) {
            float* to = normal + (row * map.width + column) * channels;
            for (std::size_t c = 0; c < channels; c += kGroup)
                save((load(map, map.at(row, column) + c) - load(own + c)) / load(own + channels + c), to + c);
        }
    }
}

void measure_rows(const Grid& grid, const float* normal, float* means, float* deviations, std::size_t first,
                  std::size_t last) {
    const std::size_t channels = grid.channels, pitch = grid.width * channels;
    // Sums of a square's rows, then of their squares.
    std::vector<float> sums(2 * pitch);
    float *down = sums.data(), *squares = down + pitch;
    for (std::size_t row = first; row < last; ++row) {
        const float* from = normal + row * grid.hop * pitch;
        for (std::size_t i = 0; i < pitch; i += kGroup) {
            Lanes total = {}, square = {};
            for (std::size_t v = 0; v < kPatch; ++v) {
                const Lanes value = load(from + v * pitch + i);
                total += value;
                square += value * value;
            }
            save(total, down + i);
            save(square, squares + i);
        }
        for (std::size_t column = 0; column < grid.columns(); ++column) {
            const std::size_t start = column * grid.hop * channels, to = (row * grid.columns() + column) * channels;
            for (std::size_t c = 0; c < channels; c += kGroup) {
                Lanes total = {}, square = {};
                for (std::size_t u = 0; u < kPatch; ++u) {
                    total += load(down + start + u * channels + c);
                    square += load(squares + start + u * channels + c);
                }
                constexpr float kShare = 1.0f / (kPatch * kPatch);
                const Lanes mean = total * kShare, variance = rectified(square * kShare - mean * mean) + kEpsilon;
                alignas(64) float roots[kGroup];
                save(variance, roots);
                for (float& root : roots) root = std::sqrt(root);
                save(mean, means + to + c);
                save(load(roots), deviations + to + c);
            }
        }
    }
}

// Between which two of `count` centres a place lies, and how much of the second it takes.
struct Between {
    std::size_t first, second;
    float share;
};

inline Between between(std::size_t place, std::size_t count) {
    const double shifted = static_cast<double>(place) - (kPatch - kHop) / 2 + 0.5;
    const double at = std::clamp(shifted / kHop - 0.5, 0.0, static_cast<double>(count - 1));
    const auto first = static_cast<std::size_t>(at);
    return {first, std::min(first + 1, count - 1), static_cast<float>(at - static_cast<double>(first))};
}

void restyle_rows(const LocalStage& work, const float* normal, const float* coefficients, std::size_t first,
                  std::size_t last) {
    const FeatureMap& map = work.features;
    const std::size_t channels = map.channels;
    const Grid grid{map.height, map.width, channels, kHop};
    const std::size_t length = grid.columns() * 2 * channels;
    std::vector<float> line(length);
    for (std::size_t row = first; row < last; ++row) {
        const Between down = between(row, grid.rows());
        const float *upper = coefficients + down.first * length, *lower = coefficients + down.second * length;
        for (std::size_t i = 0; i < length; i += kGroup) {
            const Lanes above = load(upper + i);
            save(above + (load(lower + i) - above) * down.share, line.data() + i);
        }
        for (std::size_t column = 0; column < map.width; ++column) {
            const Between across = between(column, grid.columns());
            const float *left = line.data() + across.first * 2 * channels, *right = line.data() + across.second * 2 * channels;
            const float* from = normal + (row * map.width + column) * channels;
            for (std::size_t c = 0; c < channels; c += kGroup) {
                const Lanes scale = load(left + c) + (load(right + c) - load(left + c)) * across.share;
                const std::size_t s = channels + c;
                const Lanes shift = load(left + s) + (load(right + s) - load(left + s)) * across.share;
                Lanes value = load(from + c) * scale + shift;
                if (work.strength < 1) {
                    const Lanes own = load(map, map.at(row, column) + c);
                    value = own + (value - own) * work.strength;
                }
                save(rectified(value), work.target, work.target.at(row, column) + c);
            }
        }
    }
}

float dot_floats(const float* one, const float* other, std::size_t count) {
    Lanes sums = {}, more = {};
    std::size_t i = 0;
    for (; i + 2 * kGroup <= count; i += 2 * kGroup) {
        sums += load(one + i) * load(other + i);
        more += load(one + i + kGroup) * load(other + i + kGroup);
    }
    for (; i + kGroup <= count; i += kGroup) sums += load(one + i) * load(other + i);
    sums += more;
    float total = 0;
    for (std::size_t c = 0; c < kGroup; ++c) total += sums[c];
    for (; i < count; ++i) total += one[i] * other[i];
    return total;
}

float most_of(const float* numbers, std::size_t count) {
    float found = numbers[0];
    std::size_t i = 0;
    if (count >= kGroup) {
        Lanes most = load(numbers);
        for (; i + kGroup <= count; i += kGroup) {
            const Lanes lanes = load(numbers + i);
            most = lanes > most ? lanes : most;
        }
        for (std::size_t c = 0; c < kGroup; ++c) found = std::max(found, most[c]);
    }
    for (; i < count; ++i) found = std::max(found, numbers[i]);
    return found;
}

std::size_t places_above(const float* numbers, std::size_t count, float least, std::size_t* places) {
    std::size_t found = 0, i = 0;
    for (; i + kGroup <= count; i += kGroup) {
        const Signs holds = load(numbers + i) >= least;
        std::uint64_t words[sizeof holds / sizeof(std::uint64_t)], any = 0;
        std::memcpy(words, &holds, sizeof words);
        for (const std::uint64_t word : words) any |= word;
        if (any == 0) continue;
        for (std::size_t c = 0; c < kGroup; ++c)
            if (holds[c] != 0) places[found++] = i + c;
    }
    for (; i < count; ++i)
        if (numbers[i] >= least) places[found++] = i;
    return found;
}

float round_floats(const float* values, std::size_t count, std::uint16_t* halves) {
    Lanes lost = {};
    for (std::size_t i = 0; i < count; i += kGroup) {
        const Lanes value = load(values + i);
        save(value, halves + i);
        const Lanes rest = value - load(halves + i);
        lost += rest * rest;
    }
    float total = 0;
    for (std::size_t c = 0; c < kGroup; ++c) total += lost[c];
    return std::sqrt(total);
}

constexpr StageKernels kStage{normalize_rows, measure_rows, restyle_rows, dot_floats,
                              most_of,        places_above, round_floats};

}  // namespace
}  // namespace fairlead::pictures

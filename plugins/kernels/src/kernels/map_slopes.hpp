#pragma once

#include "kernels/map_lanes.hpp"

// What the slope of a loss over features needs beside convolutions.
namespace fairlead::pictures {
namespace {

void pool_rows(const FeatureMap& map, const FeatureMap& target, std::size_t first, std::size_t last) {
    const std::size_t channels = map.channels;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t column = 0; column < target.width; ++column) {
            const std::size_t above = map.at(2 * row, 2 * column), below = map.at(2 * row + 1, 2 * column);
            for (std::size_t c = 0; c < channels; c += kGroup) {
                const Lanes upper = load(map, above + c) + load(map, above + channels + c);
                const Lanes lower = load(map, below + c) + load(map, below + channels + c);
                save((upper + lower) * 0.25f, target, target.at(row, column) + c);
            }
        }
    }
}

// Sums of channels [C], then of their squares [C], over rows.
void spread_rows(const FeatureMap& map, std::size_t first, std::size_t last, double* sums) {
    const std::size_t channels = map.channels;
    for (std::size_t row = first; row < last; ++row) {
        const std::size_t start = map.at(row, 0);
        for (std::size_t c = 0; c < channels; c += kGroup) {
            Lanes total = {}, square = {};
            for (std::size_t column = 0; column < map.width; ++column) {
                const Lanes value = load(map, start + column * channels + c);
                total += value;
                square += value * value;
            }
            for (std::size_t i = 0; i < kGroup; ++i) {
                sums[c + i] += total[i];
                sums[channels + c + i] += square[i];
            }
        }
    }
}

// A row's slopes; maps that are not there give nothing.
template <class From, class To>
void slope_row(const Slope& work, const From* features, const From* above, const From* other, To* target) {
    const std::size_t channels = work.features.channels;
    for (std::size_t column = 0; column < work.features.width; ++column) {
        for (std::size_t c = 0; c < channels; c += kGroup) {
            const std::size_t at = column * channels + c;
            const Lanes value = load(features + at);
            Lanes slope = load(work.scale + c) * value + load(work.shift + c);
            if (above != nullptr) slope += load(above + at);
            if (other != nullptr) slope += (value - load(other + at)) * work.weight;
            save(value > Lanes{} ? slope : Lanes{}, target + at);
        }
    }
}

void slope_rows(const Slope& work, std::size_t first, std::size_t last) {
    const FeatureMap& map = work.features;
    for (std::size_t row = first; row < last; ++row) {
        in_format(map, map.at(row, 0), [&](const auto* features) {
            using From = decltype(features);
            const auto from = [&](const FeatureMap* one) -> From {
                return one == nullptr ? nullptr : static_cast<From>(one->data) + one->at(row, 0);
            };
            in_format(work.target, work.target.at(row, 0),
                      [&](auto* to) { slope_row(work, features, from(work.above), from(work.other), to); });
        });
    }
}

}  // namespace
}  // namespace fairlead::pictures

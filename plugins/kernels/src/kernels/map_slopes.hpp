#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/map_lanes.hpp"

// What the slope of a loss over features needs beside convolutions.
namespace fairlead::pictures {
namespace {

// Of two rows of a map, the means of 2 x 2 places.
template <class From, class To>
void pool_row(From above, From below, std::size_t width, std::size_t channels, To target) {
    for (std::size_t column = 0; column < width; ++column) {
        const std::size_t left = 2 * column * channels, right = left + channels;
        for (std::size_t c = 0; c < channels; c += kGroup) {
            const Lanes upper = load(above + left + c) + load(above + right + c);
            const Lanes lower = load(below + left + c) + load(below + right + c);
            save((upper + lower) * 0.25f, target + column * channels + c);
        }
    }
}

void pool_rows(const FeatureMap& map, const FeatureMap& target, std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
        in_format(map, map.at(2 * row, 0), [&](auto above) {
            in_format(target, target.at(row, 0), [&](auto to) {
                pool_row(above, above + map.pitch(), target.width, map.channels, to);
            });
        });
    }
}

// Adds a row's sums of channels [C], then those of their squares [C].
template <class From>
void spread_row(From row, std::size_t width, std::size_t channels, double* sums) {
    for (std::size_t c = 0; c < channels; c += kGroup) {
        // Two of each, which do not wait for one another.
        Lanes total = {}, square = {}, next_total = {}, next_square = {};
        std::size_t column = 0;
        for (; column + 2 <= width; column += 2) {
            const Lanes value = load(row + column * channels + c), next = load(row + (column + 1) * channels + c);
            total += value;
            square += value * value;
            next_total += next;
            next_square += next * next;
        }
        if (column < width) {
            const Lanes value = load(row + column * channels + c);
            total += value;
            square += value * value;
        }
        total += next_total;
        square += next_square;
        for (std::size_t i = 0; i < kGroup; ++i) {
            sums[c + i] += total[i];
            sums[channels + c + i] += square[i];
        }
    }
}

void spread_rows(const FeatureMap& map, std::size_t first, std::size_t last, double* sums) {
    for (std::size_t row = first; row < last; ++row)
        in_format(map, map.at(row, 0), [&](auto from) { spread_row(from, map.width, map.channels, sums); });
}

// A row's slopes.
template <class From, class To>
void slope_row(const Slope& work, std::size_t row, From features, To target) {
    const std::size_t channels = work.features.channels;
    // How many of the features' columns, and rows, one of those above is.
    const std::size_t grown = work.above == nullptr ? 1 : work.features.width / work.above->width;
    const std::size_t above = work.above == nullptr ? 0 : work.above->at(row / grown, 0);
    const std::size_t other = work.other == nullptr ? 0 : work.other->at(row, 0);
    for (std::size_t column = 0; column < work.features.width; ++column) {
        for (std::size_t c = 0; c < channels; c += kGroup) {
            const std::size_t at = column * channels + c;
            const Lanes value = load(features + at);
            Lanes slope = load(work.scale + c) * value + load(work.shift + c);
            if (work.above != nullptr) slope += load(*work.above, above + column / grown * channels + c);
            if (work.other != nullptr) slope += (value - load(*work.other, other + at)) * work.weight;
            save(value > Lanes{} ? slope : Lanes{}, target + at);
        }
    }
}

void slope_rows(const Slope& work, std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
        in_format(work.features, work.features.at(row, 0), [&](auto features) {
            in_format(work.target, work.target.at(row, 0), [&](auto to) { slope_row(work, row, features, to); });
        });
    }
}

float largest_of(const float* numbers, std::size_t count) {
    Lanes most = {};
    std::size_t i = 0;
    for (; i + kGroup <= count; i += kGroup) {
        const Lanes value = load(numbers + i), size = value < Lanes{} ? -value : value;
        most = size > most ? size : most;
    }
    float found = 0;
    for (std::size_t c = 0; c < kGroup; ++c) found = most[c] > found ? most[c] : found;
    for (; i < count; ++i) found = std::max(found, std::abs(numbers[i]));
    return found;
}

}  // namespace
}  // namespace fairlead::pictures

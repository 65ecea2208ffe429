#pragma once

#include <algorithm>
#include <vector>

#include "fairlead/pictures/pixels.hpp"
#include "kernels/map_lanes.hpp"

namespace fairlead::pictures {
namespace {

// Four pixels' colours side by side: what a row's products are summed in.
constexpr std::size_t kRunOfPixels = 4, kRunOfNumbers = 3 * kRunOfPixels;
using Four = float __attribute__((vector_size(16)));
using Places = std::int32_t __attribute__((vector_size(16)));

inline Four four(const float* from) {
    Four numbers;
    std::memcpy(&numbers, from, sizeof numbers);
    return numbers;
}

// Of four pixels' colours, their sum; the fourth number is nothing's.
#if defined(__clang__)
inline Four sum_of_four(const Four* x) {
    return (x[0] + __builtin_shufflevector(x[0], x[1], 3, 4, 5, 5)) +
           (__builtin_shufflevector(x[1], x[2], 2, 3, 4, 4) + __builtin_shufflevector(x[2], x[2], 1, 2, 3, 3));
}
#else
inline Four sum_of_four(const Four* x) {
    return (x[0] + __builtin_shuffle(x[0], x[1], Places{3, 4, 5, 5})) +
           (__builtin_shuffle(x[1], x[2], Places{2, 3, 4, 4}) + __builtin_shuffle(x[2], Places{1, 2, 3, 3}));
}
#endif

// Each weight three times, and nothing in what fills the last run.
inline std::vector<float> weights_of_colours(const Taps& taps, std::size_t run) {
    std::vector<float> found(taps.count * run, 0.0f);
    for (std::size_t at = 0; at < taps.count; ++at)
        for (std::size_t i = 0; i < 3 * taps.taps; ++i) found[at * run + i] = taps.weights[at * taps.taps + i / 3];
    return found;
}

inline void clip(const float* from, std::size_t count, float* to) {
    for (std::size_t i = 0; i < count; ++i) {
        const float value = from[i] < 0.0f ? 0.0f : from[i];
        to[i] = value > 1.0f ? 1.0f : value;
    }
}

void resample_rows(const Resampling& work, std::size_t first, std::size_t last) {
    const std::size_t length = 3 * work.width, taps = work.rows.taps, columns = work.columns.count;
    const std::size_t run = (3 * work.columns.taps + kRunOfNumbers - 1) / kRunOfNumbers * kRunOfNumbers;
    const auto weights = weights_of_colours(work.columns, run);
    constexpr std::size_t kChains = 4;
    const std::size_t pitch = (length + kChains * kGroup - 1) / (kChains * kGroup) * (kChains * kGroup);
    std::vector<float> line(pitch + run, 0.0f), clipped(taps * pitch, 0.0f);
    std::vector<const float*> rows(taps);
    std::size_t held = 0;  // rows of the picture before this one are clipped, each in its turn's place
    for (std::size_t row = first; row < last; ++row) {
        const auto start = static_cast<std::size_t>(work.rows.starts[row]);
        const float* by = work.rows.weights + row * taps;
        for (held = std::max(held, start); held < start + taps; ++held)
            clip(work.picture + held * length, length, clipped.data() + held % taps * pitch);
        for (std::size_t t = 0; t < taps; ++t) rows[t] = clipped.data() + (start + t) % taps * pitch;
        for (std::size_t i = 0; i < length; i += kChains * kGroup) {
            Lanes sums[kChains] = {};
            for (std::size_t t = 0; t < taps; ++t)
                for (std::size_t k = 0; k < kChains; ++k) sums[k] += load(rows[t] + i + k * kGroup) * by[t];
            for (std::size_t k = 0; k < kChains; ++k) save(sums[k], line.data() + i + k * kGroup);
        }
        float* to = work.target + row * columns * 3;
        for (std::size_t column = 0; column < columns; ++column) {
            const float* numbers = line.data() + 3 * static_cast<std::size_t>(work.columns.starts[column]);
            const float* shares = weights.data() + column * run;
            Four sums[3] = {};
            for (std::size_t k = 0; k < run; k += kRunOfNumbers)
                for (std::size_t part = 0; part < 3; ++part)
                    sums[part] += four(numbers + k + 4 * part) * four(shares + k + 4 * part);
            Four colours = sum_of_four(sums);
            colours = colours < 0.0f ? Four{} : colours;
            colours = colours > 1.0f ? Four{1, 1, 1, 1} : colours;
            std::memcpy(to + 3 * column, &colours, 3 * sizeof(float));
        }
    }
}

inline Four turned(const Four& colours) {
#if defined(__clang__)
    return __builtin_shufflevector(colours, colours, 1, 2, 0, 3);
#else
    return __builtin_shuffle(colours, Places{1, 2, 0, 3});
#endif
}

void sum_pixels(const float* row, std::size_t width, std::size_t step, const float* pivot, double* sums) {
    // Several sums each, which do not wait for one another.
    constexpr std::size_t kChains = 4;
    Four totals[kChains] = {}, squares[kChains] = {}, products[kChains] = {};
    const Four around = {pivot[0], pivot[1], pivot[2], 0};
    const auto add = [&](Four pixel, std::size_t chain) {
        pixel -= around;
        totals[chain] += pixel;
        squares[chain] += pixel * pixel;
        products[chain] += pixel * turned(pixel);
    };
    std::size_t column = 0;
    // Four numbers are loaded of each pixel, whose fourth is not looked at.
    for (; column + kChains * step < width; column += kChains * step)
        for (std::size_t chain = 0; chain < kChains; ++chain) add(four(row + 3 * (column + chain * step)), chain);
    for (; column < width; column += step) add(Four{row[3 * column], row[3 * column + 1], row[3 * column + 2], 0}, 0);
    for (std::size_t chain = 0; chain < kChains; ++chain) {
        for (std::size_t c = 0; c < 3; ++c) {
            sums[c] += totals[chain][c];
            sums[3 + 4 * c] += squares[chain][c];
        }
        sums[4] += products[chain][0];
        sums[8] += products[chain][1];
        sums[5] += products[chain][2];
    }
}

void step_numbers(const float* picture, float factor, float* slope, std::size_t first, std::size_t last) {
    std::size_t i = first;
    for (; i + kGroup <= last; i += kGroup) {
        const Lanes value = rectified(load(picture + i) + load(slope + i) * factor);
        save(value < 1.0f ? value : Lanes{} + 1.0f, slope + i);
    }
    for (; i < last; ++i) slope[i] = std::clamp(picture[i] + factor * slope[i], 0.0f, 1.0f);
}

double sum_squares(const float* numbers, std::size_t count) {
    // Several sums, which do not wait for one another.
    constexpr std::size_t kChains = 4;
    Lanes sums[kChains] = {};
    std::size_t i = 0;
    for (; i + kChains * kGroup <= count; i += kChains * kGroup) {
        for (std::size_t chain = 0; chain < kChains; ++chain) {
            const Lanes value = load(numbers + i + chain * kGroup);
            sums[chain] += value * value;
        }
    }
    double total = 0;
    for (const Lanes& sum : sums)
        for (std::size_t c = 0; c < kGroup; ++c) total += sum[c];
    for (; i < count; ++i) total += static_cast<double>(numbers[i]) * numbers[i];
    return total;
}

constexpr PixelKernels kPixelRows{resample_rows, sum_pixels, step_numbers, sum_squares};

}  // namespace
}  // namespace fairlead::pictures

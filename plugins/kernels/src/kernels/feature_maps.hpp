#pragma once

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "kernels/eigenvectors.hpp"
#include "kernels/local_stage.hpp"
#include "kernels/map_lanes.hpp"
#include "kernels/map_slopes.hpp"
#include "kernels/multiply_doubles.hpp"
#include "kernels/pixel_rows.hpp"

namespace fairlead::pictures {
namespace {

#if defined(__AVX512F__)
inline constexpr std::size_t kPixels = 12;
#elif defined(__AVX2__)
inline constexpr std::size_t kPixels = 6;
#else
inline constexpr std::size_t kPixels = 4;
#endif

inline float number(const float* from) { return *from; }

inline float number(const std::uint16_t* from) {
    const std::uint32_t word = static_cast<std::uint32_t>(*from) << 16;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

// Sixteen filters' weights of the k-th number of a run; halves lie in pairs.
inline Lanes weights(const float* filters, std::size_t k) { return load(filters + k * kGroup); }

inline Lanes weights(const std::uint16_t* filters, std::size_t k) {
    Words pairs;
    std::memcpy(&pairs, filters + (k & ~std::size_t{1}) * kGroup, sizeof pairs);
    return reinterpret_cast<Lanes>((k & 1) != 0 ? pairs & 0xffff0000u : pairs << 16);
}

template <class T, std::size_t N>
void block(const Convolution& work, const T* source, const T* filters, std::size_t row, std::size_t column,
           std::size_t channel) {
    const std::size_t run = work.run(), step = work.stride * work.source.channels, pitch = work.source.pitch();
    const std::size_t packed = (sizeof(T) == 2 ? (run + 31) / 32 * 32 : run) * kGroup;
    Lanes sums[N] = {};
    for (std::size_t down = 0; down < work.side; ++down, source += pitch, filters += packed) {
        for (std::size_t k = 0; k < run; ++k) {
            const Lanes by = weights(filters, k);
#pragma GCC unroll 12
            for (std::size_t p = 0; p < N; ++p) sums[p] += by * number(source + p * step + k);
        }
    }
    finish(work, reinterpret_cast<const float*>(sums), kGroup, N, row, column, channel);
}

// Four signed bytes of sixteen filters, of numbers from k on.
inline void fours(const std::int8_t* filters, std::size_t k, Signs* found) {
    Words words;
    std::memcpy(&words, filters + k * kGroup, sizeof words);
    for (std::size_t i = 0; i < 4; ++i) found[i] = reinterpret_cast<Signs>(words << (24 - 8 * i)) >> 24;
}

// Of bytes: sums are whole numbers, the same whatever adds them.
template <std::size_t N>
void block_of_bytes(const Convolution& work, const std::uint8_t* source, const std::int8_t* filters, std::size_t row,
                    std::size_t column, std::size_t channel) {
    const std::size_t run = work.run(), step = work.stride * work.source.channels, pitch = work.source.pitch();
    Signs sums[N] = {};
    for (std::size_t down = 0; down < work.side; ++down, source += pitch, filters += run * kGroup) {
        for (std::size_t k = 0; k < run; k += 4) {
            Signs by[4];
            fours(filters, k, by);
            for (std::size_t i = 0; i < 4; ++i)
                for (std::size_t p = 0; p < N; ++p) sums[p] += by[i] * static_cast<std::int32_t>(source[p * step + k + i]);
        }
    }
    finish(work, reinterpret_cast<const std::int32_t*>(sums), kGroup, N, row, column, channel);
}

void convolve_bytes(const Convolution& work, std::size_t first, std::size_t last) {
    constexpr std::size_t kAtOnce = 4;
    const FeatureMap& map = work.source;
    const std::size_t packed = work.run() * kGroup * work.side;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t channel = 0; channel < work.outputs; channel += kGroup) {
            const auto* filters = static_cast<const std::int8_t*>(work.filters) + channel / kGroup * packed;
            for (std::size_t column = 0; column < work.width;) {
                const auto* from = static_cast<const std::uint8_t*>(map.data) +
                                   map.at(row * work.stride, column * work.stride, work.side / 2);
                const std::size_t count = work.width - column < kAtOnce ? 1 : kAtOnce;
                auto* block = count == 1 ? block_of_bytes<1> : block_of_bytes<kAtOnce>;
                block(work, from, filters, row, column, channel);
                column += count;
            }
        }
    }
}

template <class T>
using Block = void (*)(const Convolution&, const T*, const T*, std::size_t, std::size_t, std::size_t);

// Blocks of 1 to kPixels pixels.
template <class T, std::size_t... N>
constexpr std::array<Block<T>, sizeof...(N)> blocks(std::index_sequence<N...>) {
    return {block<T, N + 1>...};
}

template <class T>
void convolve_rows(const Convolution& work, std::size_t first, std::size_t last) {
    constexpr auto kBlocks = blocks<T>(std::make_index_sequence<kPixels>());
    const FeatureMap& map = work.source;
    const std::size_t run = work.run(), packed = (sizeof(T) == 2 ? (run + 31) / 32 * 32 : run) * kGroup * work.side;
    const std::size_t count = (work.width + kPixels - 1) / kPixels;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t channel = 0; channel < work.outputs; channel += kGroup) {
            const T* filters = static_cast<const T*>(work.filters) + channel / kGroup * packed;
            // As few blocks as there can be, all about as wide: sums of a single pixel would wait for one another.
            for (std::size_t index = 0; index < count; ++index) {
                const std::size_t column = index * work.width / count, next = (index + 1) * work.width / count;
                const T* from = static_cast<const T*>(map.data) +
                                map.at(row * work.stride, column * work.stride, work.side / 2);
                kBlocks[next - column - 1](work, from, filters, row, column, channel);
            }
        }
    }
}

void convolve_any(const Convolution& work, std::size_t first, std::size_t last) {
    if (work.source.format == Format::halves) {
        convolve_rows<std::uint16_t>(work, first, last);
    } else if (work.source.format == Format::bytes) {
        convolve_bytes(work, first, last);
    } else {
        convolve_rows<float>(work, first, last);
    }
}

// Numbers of as many pixels as make whole lanes.
inline constexpr std::size_t kTurn = 3 * kGroup;

// A map of colours as factors of a row's numbers: of that which lies d - 2 further, for sixteen pixels.
struct ColourMap {
    alignas(64) float factors[5][kTurn] = {};
    alignas(64) float offsets[kTurn] = {};

    explicit ColourMap(const float* mapping) {
        for (std::size_t i = 0; i < kTurn; ++i) {
            const std::size_t colour = i % 3;
            offsets[i] = mapping[4 * colour + 3];
            for (std::size_t from = 0; from < 3; ++from) factors[2 + from - colour][i] = mapping[4 * colour + from];
        }
    }
};

// A row's numbers with nothing around them, which lanes that begin before and end behind it read.
class PaddedRow {
public:
    explicit PaddedRow(std::size_t length) : length_(length), held_(length + kTurn + 2 * kGroup, 0.0f) {}
    void take(const float* row) { std::memcpy(held_.data() + kGroup, row, length_ * sizeof(float)); }
    const float* data() const { return held_.data() + kGroup; }

private:
    std::size_t length_;
    std::vector<float> held_;
};

// A row's colours under the map plus `lent` of its details, and at each pixel's first number `share` of their mean.
void enrich(const Unshuffle& work, const ColourMap& map, const PaddedRow& picture, const PaddedRow& details,
            float* richer, float* grey) {
    const float lent = work.lent * work.share, third = work.share / 3;
    const float *x = picture.data(), *d = details.data();
    for (std::size_t start = 0; start < 6 * work.target.width; start += kTurn) {
        for (std::size_t part = 0; part < kTurn; part += kGroup) {
            const std::size_t i = start + part;
            Lanes sum = load(map.offsets + part);
#pragma GCC unroll 5
            for (std::size_t near = 0; near < 5; ++near) sum += load(map.factors[near] + part) * load(x + i + near - 2);
            if (work.details != nullptr) {
                const Lanes detail = load(d + i);
                sum += detail * lent;
                save((detail + load(d + i + 1) + load(d + i + 2)) * third, grey + i);
            }
            save(sum, richer + i);
        }
    }
}

// Of two rows' numbers, those of 2 x 2 pixels: colours in the first three of each four, a grey in the last.
#if defined(__clang__)
inline Lanes colours_of_four(const Lanes& above, const Lanes& below) {
    return __builtin_shufflevector(above, below, 0, 1, 2, 0, 3, 4, 5, 0, 16, 17, 18, 0, 19, 20, 21, 0);
}

inline Lanes greys_of_four(const Lanes& above, const Lanes& below) {
    return __builtin_shufflevector(above, below, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 19);
}
#else
inline Lanes colours_of_four(const Lanes& above, const Lanes& below) {
    return __builtin_shuffle(above, below, Signs{0, 1, 2, 0, 3, 4, 5, 0, 16, 17, 18, 0, 19, 20, 21, 0});
}

inline Lanes greys_of_four(const Lanes& above, const Lanes& below) {
    return __builtin_shuffle(above, below, Signs{0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 19});
}
#endif

void unshuffle_rows(const Unshuffle& work, std::size_t first, std::size_t last) {
    const std::size_t width = work.target.width, length = 6 * width, held = length + kTurn + kGroup;
    const ColourMap map(work.mapping);
    PaddedRow picture(length), details(length);
    // Of two rows, with what lanes reach beyond them.
    std::vector<float> colours(2 * held), greys(2 * held, 0.0f);
    constexpr Signs kGrey = {0, 0, 0, -1, 0, 0, 0, -1, 0, 0, 0, -1, 0, 0, 0, -1};
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t down = 0; down < 2; ++down) {
            const std::size_t start = (2 * row + down) * length;
            picture.take(work.picture + start);
            if (work.details != nullptr) details.take(work.details + start);
            enrich(work, map, picture, details, &colours[down * held], &greys[down * held]);
            if (work.richer != nullptr)
                std::memcpy(work.richer + start, &colours[down * held], length * sizeof(float));
        }
        in_format(work.target, work.target.at(row, 0), [&](auto to) {
            for (std::size_t i = 0; i < length; i += 6, to += kGroup) {
                const Lanes seen = colours_of_four(load(&colours[i]), load(&colours[held + i])) * 2.0f - 1.0f;
                const Lanes grey = greys_of_four(load(&greys[i]), load(&greys[held + i]));
                save(kGrey ? grey : seen, to);
            }
        });
    }
}

// Adds `count` pixels' products x_i x_j, for groups of j that are not below i.
void add_products(const float* pixels, std::size_t count, std::size_t channels, double* products) {
    constexpr std::size_t kRows = 8;
    for (std::size_t i = 0; i < channels; i += kRows) {
        for (std::size_t j = i / kGroup * kGroup; j < channels; j += kGroup) {
            Lanes sums[kRows] = {};
            for (std::size_t p = 0; p < count; ++p) {
                const Lanes right = load(pixels + p * channels + j);
#pragma GCC unroll 8
                for (std::size_t r = 0; r < kRows; ++r) sums[r] += right * pixels[p * channels + i + r];
            }
            for (std::size_t r = 0; r < kRows; ++r)
                for (std::size_t c = 0; c < kGroup; ++c) products[(i + r) * channels + j + c] += sums[r][c];
        }
    }
}

void sum_rows(const FeatureMap& map, std::size_t step, std::size_t first, std::size_t last, double* sums) {
    constexpr std::size_t kAtOnce = 64, kMost = 256;
    alignas(64) float pixels[kAtOnce * kMost];
    const std::size_t channels = map.channels;
    std::size_t held = 0;
    const auto add = [&] {
        for (std::size_t c = 0; c < channels; c += kGroup) {
            Lanes total = {};
            for (std::size_t p = 0; p < held; ++p) total += load(pixels + p * channels + c);
            for (std::size_t i = 0; i < kGroup; ++i) sums[c + i] += total[i];
        }
        add_products(pixels, held, channels, sums + channels);
        held = 0;
    };
    for (std::size_t row = (first + step - 1) / step * step; row < last; row += step) {
        for (std::size_t column = 0; column < map.width; column += step) {
            for (std::size_t c = 0; c < channels; c += kGroup)
                save(load(map, map.at(row, column) + c), pixels + held * channels + c);
            if (++held == kAtOnce) add();
        }
    }
    add();
}

void store_rows(const float* values, const FeatureMap& map, bool rectify, std::size_t first, std::size_t last) {
    const std::size_t length = map.width * map.channels;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t i = 0; i < length; i += kGroup) {
            const Lanes lanes = load(values + row * length + i);
            save(rectify ? rectified(lanes) : lanes, map, map.at(row, 0) + i);
        }
    }
}

void recolour_pixels(float* pixels, const float* m, std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) {
        float* x = pixels + 3 * i;
        const float r = x[0], g = x[1], b = x[2];
        for (std::size_t c = 0; c < 3; ++c) {
            const float value = m[4 * c] * r + m[4 * c + 1] * g + m[4 * c + 2] * b + m[4 * c + 3];
            x[c] = value < 0 ? 0 : value > 1 ? 1 : value;
        }
    }
}

// Of some rows, their products with sixteen columns.
template <std::size_t R>
inline void product_block(const float* left, const float* right, std::size_t size, std::size_t columns, float* target) {
    Lanes sums[R] = {};
    for (std::size_t k = 0; k < size; ++k) {
        const Lanes by = load(right + k * columns);
#pragma GCC unroll 8
        for (std::size_t r = 0; r < R; ++r) sums[r] += by * left[r * size + k];
    }
    for (std::size_t r = 0; r < R; ++r) save(sums[r], target + r * columns);
}

void multiply_rows(const float* left, std::size_t rows, const float* right, std::size_t size, std::size_t columns,
                   float* target) {
    constexpr std::size_t kRows = 8;
    for (std::size_t column = 0; column < columns; column += kGroup) {
        std::size_t row = 0;
        for (; row + kRows <= rows; row += kRows)
            product_block<kRows>(left + row * size, right + column, size, columns, target + row * columns + column);
        for (; row < rows; ++row)
            product_block<1>(left + row * size, right + column, size, columns, target + row * columns + column);
    }
}

constexpr MapKernels kMaps{convolve_any,     unshuffle_rows, sum_rows,         store_rows, recolour_pixels,
                           pool_rows,        spread_rows,    slope_rows,       largest_of, multiply_doubles,
                           find_eigenvectors, multiply_rows, &kStage,          &kPixelRows};

}  // namespace
}  // namespace fairlead::pictures

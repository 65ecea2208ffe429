#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fairlead/pictures/feature_map.hpp"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

// Sixteen channels at once; compilers cut them into an ISA's registers.
namespace fairlead::pictures {
namespace {

using Lanes = float __attribute__((vector_size(64)));
using Words = std::uint32_t __attribute__((vector_size(64)));
using Signs = std::int32_t __attribute__((vector_size(64)));
using Shorts = std::uint16_t __attribute__((vector_size(32)));

inline Lanes load(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

inline Lanes load(const std::uint16_t* from) {
    Shorts shorts;
    std::memcpy(&shorts, from, sizeof shorts);
    return reinterpret_cast<Lanes>(__builtin_convertvector(shorts, Words) << 16);
}

inline void save(const Lanes& lanes, float* to) { std::memcpy(to, &lanes, sizeof lanes); }

// To the nearest, ties to even; numbers are finite.
inline void save(const Lanes& lanes, std::uint16_t* to) {
#if defined(__AVX512BF16__)
    const __m256bh halves = _mm512_cvtneps_pbh((__m512)lanes);
    std::memcpy(to, &halves, sizeof halves);
#else
    const Words words = reinterpret_cast<Words>(lanes);
    const Shorts shorts = __builtin_convertvector((words + 0x7fffu + ((words >> 16) & 1u)) >> 16, Shorts);
    std::memcpy(to, &shorts, sizeof shorts);
#endif
}

inline Lanes load(const FeatureMap& map, std::size_t at) {
    return map.format == Format::halves ? load(static_cast<const std::uint16_t*>(map.data) + at)
                                        : load(static_cast<const float*>(map.data) + at);
}

inline void save(const Lanes& lanes, const FeatureMap& map, std::size_t at) {
    if (map.format == Format::halves) {
        save(lanes, static_cast<std::uint16_t*>(map.data) + at);
    } else {
        save(lanes, static_cast<float*>(map.data) + at);
    }
}

inline Lanes rectified(const Lanes& lanes) { return lanes > Lanes{} ? lanes : Lanes{}; }

// Pixels whose results are given at once, at most.
inline constexpr std::size_t kMostPixels = 32;

// Calls `use` with the map's numbers from `at` on, as what they are.
template <class Use>
inline void in_format(const FeatureMap& map, std::size_t at, Use use) {
    if (map.format == Format::halves) {
        use(static_cast<std::uint16_t*>(map.data) + at);
    } else {
        use(static_cast<float*>(map.data) + at);
    }
}

// Six numbers of each row of 2 x 2 pixels' twelve.
inline void draw(const Convolution& work, const Lanes& value, std::size_t row, std::size_t column) {
    using Four = float __attribute__((vector_size(16)));
    using Two = float __attribute__((vector_size(8)));
    alignas(64) float numbers[kGroup];
    save(value, numbers);
    for (std::size_t down = 0; down < 2; ++down) {
        const std::size_t at = ((2 * row + down) * 2 * work.width + 2 * column) * 3;
        Four four;
        Two two;
        std::memcpy(&four, numbers + 6 * down, sizeof four);
        std::memcpy(&two, numbers + 6 * down + 4, sizeof two);
        if (work.under != nullptr) {
            Four under_four;
            Two under_two;
            std::memcpy(&under_four, work.under + at, sizeof under_four);
            std::memcpy(&under_two, work.under + at + 4, sizeof under_two);
            four += under_four;
            two += under_two;
        }
        std::memcpy(work.drawn + at, &four, sizeof four);
        std::memcpy(work.drawn + at + 4, &two, sizeof two);
    }
}

// Gives sixteen channels, from `channel` on, of `pixels` of a row where they go; pixels that grow lie apart.
inline void give(const Convolution& work, const Lanes* values, std::size_t pixels, std::size_t row, std::size_t column,
                 std::size_t channel) {
    Lanes sums[kMostPixels];
    const std::size_t step = work.growth * work.outputs;
    // A format is asked for once a run and not once a pixel.
    if (work.skip != nullptr) {
        in_format(*work.skip, work.skip->at(row, column) + channel, [&](const auto* from) {
            for (std::size_t p = 0; p < pixels; ++p) sums[p] = values[p] + load(from + p * step);
        });
        values = sums;
    }
    if (work.kept != nullptr) {
        in_format(*work.kept, work.kept->at(row, column) + channel, [&](auto* to) {
            for (std::size_t p = 0; p < pixels; ++p) save(values[p], to + p * step);
        });
    }
    if (work.rectified != nullptr) {
        in_format(*work.rectified, work.rectified->at(row, column) + channel, [&](auto* to) {
            for (std::size_t p = 0; p < pixels; ++p) save(rectified(values[p]), to + p * step);
        });
    }
}

// Gives the results of a run of pixels, at most kMostPixels, where they go.
//
// sums: of the pixels' sixteen channels from `channel` on, one pixel's `pitch` numbers after another's.
inline void finish(const Convolution& work, const float* sums, std::size_t pitch, std::size_t pixels, std::size_t row,
                   std::size_t column, std::size_t channel) {
    const Lanes bias = load(work.bias + channel);
    Lanes values[kMostPixels];
    for (std::size_t p = 0; p < pixels; ++p) values[p] = load(sums + p * pitch) + bias;
    if (work.drawn != nullptr) {
        for (std::size_t p = 0; p < pixels; ++p) draw(work, values[p], row, column + p);
        return;
    }
    for (std::size_t v = 0; v < work.growth; ++v)
        for (std::size_t u = 0; u < work.growth; ++u)
            give(work, values, pixels, row * work.growth + v, column * work.growth + u, channel);
}

}  // namespace
}  // namespace fairlead::pictures

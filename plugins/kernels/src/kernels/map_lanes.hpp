#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fairlead/pictures/feature_map.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

// Sixteen channels at once; compilers cut them into an ISA's registers.
namespace fairlead::pictures {
namespace {

using Lanes = float __attribute__((vector_size(64)));
using Words = std::uint32_t __attribute__((vector_size(64)));
using Signs = std::int32_t __attribute__((vector_size(64)));
using Shorts = std::uint16_t __attribute__((vector_size(32)));
using Codes = std::uint8_t __attribute__((vector_size(16)));

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

// Where a map's bytes lie, and what they mean.
struct Bytes {
    std::uint8_t* at;
    float scale, by, zero;  // by: 1 / scale

    Bytes operator+(std::size_t count) const { return {at + count, scale, by, zero}; }
    Bytes& operator+=(std::size_t count) {
        at += count;
        return *this;
    }
};

inline Lanes load(const Bytes& from) {
    Codes codes;
    std::memcpy(&codes, from.at, sizeof codes);
#if defined(__AVX512F__)
    const Lanes whole = (Lanes)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)codes));
#else
    const Words words = __builtin_convertvector(__builtin_convertvector(codes, Shorts), Words);
    const Lanes whole = __builtin_convertvector(reinterpret_cast<Signs>(words), Lanes);
#endif
    return (whole - from.zero) * from.scale;
}

// To the nearest, ties to even; numbers beyond what a byte holds are the last that it does.
inline void save(const Lanes& lanes, const Bytes& to) {
    const Lanes scaled = lanes * to.by + to.zero, positive = scaled > Lanes{} ? scaled : Lanes{};
#if defined(__AVX512F__)
    const __m128i codes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32((__m512)positive));
#else
    const Lanes most = Lanes{} + 255.0f, held = positive < most ? positive : most;
    // Numbers of this size have no bits below one.
    const Signs whole = reinterpret_cast<Signs>(held + 12582912.0f) & 255;
    const Codes codes = __builtin_convertvector(__builtin_convertvector(reinterpret_cast<Words>(whole), Shorts), Codes);
#endif
    std::memcpy(to.at, &codes, sizeof codes);
}

// Of numbers that are not negative.
inline void save_positive(const Lanes& lanes, float* to) { save(lanes, to); }
inline void save_positive(const Lanes& lanes, std::uint16_t* to) { save(lanes, to); }

inline void save_positive(const Lanes& lanes, const Bytes& to) {
#if defined(__AVX512F__)
    const __m128i codes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32((__m512)(lanes * to.by + to.zero)));
    std::memcpy(to.at, &codes, sizeof codes);
#else
    save(lanes, to);
#endif
}

// Calls `use` with the map's numbers from `at` on, as what they are.
template <class Use>
inline void in_format(const FeatureMap& map, std::size_t at, Use use) {
    if (map.format == Format::halves) {
        use(static_cast<std::uint16_t*>(map.data) + at);
    } else if (map.format == Format::bytes) {
        use(Bytes{static_cast<std::uint8_t*>(map.data) + at, map.scale, 1.0f / map.scale, static_cast<float>(map.zero)});
    } else {
        use(static_cast<float*>(map.data) + at);
    }
}

inline Lanes load(const FeatureMap& map, std::size_t at) {
    Lanes lanes;
    in_format(map, at, [&](auto from) { lanes = load(from); });
    return lanes;
}

inline void save(const Lanes& lanes, const FeatureMap& map, std::size_t at) {
    in_format(map, at, [&](auto to) { save(lanes, to); });
}

inline Lanes rectified(const Lanes& lanes) { return lanes > Lanes{} ? lanes : Lanes{}; }

// Six numbers of each row of 2 x 2 pixels' twelve.
#if defined(__AVX512F__)
inline void draw(const Convolution& work, const Lanes& value, std::size_t row, std::size_t column) {
    constexpr __mmask16 kRows[2] = {0x3f, 0xfc0};
    for (std::size_t down = 0; down < 2; ++down) {
        // The second row's six numbers are the lanes from the sixth on.
        const auto at = static_cast<std::ptrdiff_t>(((2 * row + down) * 2 * work.width + 2 * column) * 3) -
                        static_cast<std::ptrdiff_t>(6 * down);
        auto drawn = (__m512)value;
        if (work.under != nullptr) drawn = _mm512_add_ps(drawn, _mm512_maskz_loadu_ps(kRows[down], work.under + at));
        _mm512_mask_storeu_ps(work.drawn + at, kRows[down], drawn);
    }
}
#else
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
#endif

// Pixels whose results are given at once, at most.
inline constexpr std::size_t kMostPixels = 32;

// Gives sixteen channels, from `channel` on, of `pixels` of a row where they go; pixels that grow lie apart.
inline void give(const Convolution& work, const Lanes* values, std::size_t pixels, std::size_t row, std::size_t column,
                 std::size_t channel) {
    Lanes sums[kMostPixels];
    const std::size_t step = work.growth * work.outputs;
    // A format is asked for once a run and not once a pixel.
    if (work.skip != nullptr) {
        in_format(*work.skip, work.skip->at(row, column) + channel, [&](auto from) {
            for (std::size_t p = 0; p < pixels; ++p) sums[p] = values[p] + load(from + p * step);
        });
        values = sums;
    }
    if (work.kept != nullptr) {
        in_format(*work.kept, work.kept->at(row, column) + channel, [&](auto to) {
            for (std::size_t p = 0; p < pixels; ++p) save(values[p], to + p * step);
        });
    }
    if (work.rectified != nullptr) {
        in_format(*work.rectified, work.rectified->at(row, column) + channel, [&](auto to) {
            for (std::size_t p = 0; p < pixels; ++p) save_positive(rectified(values[p]), to + p * step);
        });
    }
}

// Adds what is rectified, and its squares, to the row's sums.
inline void note(const Convolution& work, const Lanes* values, std::size_t pixels, std::size_t row,
                 std::size_t channel) {
    Lanes total = {}, square = {};
    for (std::size_t p = 0; p < pixels; ++p) {
        const Lanes positive = rectified(values[p]);
        total += positive;
        square += positive * positive;
    }
    float* to = work.noted + row * 2 * work.outputs + channel;
    save(load(to) + total, to);
    save(load(to + work.outputs) + square, to + work.outputs);
}

// What sixteen sums from `channel` on are, without the bias.
inline Lanes whole(const Convolution&, const float* sums, std::size_t) { return load(sums); }

inline Lanes whole(const Convolution& work, const std::int32_t* sums, std::size_t channel) {
    Signs signs;
    std::memcpy(&signs, sums, sizeof signs);
    return __builtin_convertvector(signs, Lanes) * load(work.scales + channel);
}

// Gives the results of a run of pixels, at most kMostPixels, where they go.
//
// sums: of the pixels' sixteen channels from `channel` on, one pixel's `pitch` numbers after another's.
template <class T>
inline void finish(const Convolution& work, const T* sums, std::size_t pitch, std::size_t pixels, std::size_t row,
                   std::size_t column, std::size_t channel) {
    const Lanes bias = load(work.bias + channel);
    Lanes values[kMostPixels];
    for (std::size_t p = 0; p < pixels; ++p) values[p] = whole(work, sums + p * pitch, channel) + bias;
    if (work.drawn != nullptr) {
        for (std::size_t p = 0; p < pixels; ++p) draw(work, values[p], row, column + p);
        return;
    }
    if (work.noted != nullptr) note(work, values, pixels, row, channel);
    for (std::size_t v = 0; v < work.growth; ++v)
        for (std::size_t u = 0; u < work.growth; ++u)
            give(work, values, pixels, row * work.growth + v, column * work.growth + u, channel);
}

}  // namespace
}  // namespace fairlead::pictures

#include "kernels/word_blocks.hpp"

namespace fairlead::pictures {
namespace {

struct PairsOfHalves {
    using Number = std::uint16_t;
    using Filter = std::uint16_t;
    using Sum = __m512;
    using Total = float;
    static constexpr std::size_t kNumbers = 2, kRun = 32;

    static Sum nothing() { return _mm512_setzero_ps(); }
    static Sum add(Sum sum, __m512i seen, __m512i by) { return _mm512_dpbf16_ps(sum, (__m512bh)by, (__m512bh)seen); }
};

// Sixteen channels of two pixels, in pairs.
inline __m512i pairs_of(const std::uint16_t* one, const std::uint16_t* other) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(one)));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(other)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

inline void add_to(double* sums, __m512 lanes) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(lanes));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(lanes, 1));
    _mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), low));
    _mm512_storeu_pd(sums + 8, _mm512_add_pd(_mm512_loadu_pd(sums + 8), high));
}

// Adds sums of `count` pairs of pixels [count, channels], and of products x_i x_j for groups of j that are not below i.
void add_pairs(const std::uint32_t* pairs, std::size_t count, std::size_t channels, double* sums) {
    const auto ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    const auto at = [&](std::size_t p, std::size_t c) { return (__m512bh)_mm512_load_si512(pairs + p * channels + c); };
    for (std::size_t j = 0; j < channels; j += kGroup) {
        __m512 total = _mm512_setzero_ps();
        for (std::size_t p = 0; p < count; ++p) total = _mm512_dpbf16_ps(total, at(p, j), ones);
        add_to(sums + j, total);
        for (std::size_t i = 0; i <= j; i += kGroup) {
            __m512 products[kGroup];
            for (auto& product : products) product = _mm512_setzero_ps();
            for (std::size_t p = 0; p < count; ++p) {
                const __m512bh right = at(p, j);
                const std::uint32_t* left = pairs + p * channels + i;
#pragma GCC unroll 16
                for (std::size_t r = 0; r < kGroup; ++r)
                    products[r] = _mm512_dpbf16_ps(products[r], right, (__m512bh)_mm512_set1_epi32(static_cast<int>(left[r])));
            }
            for (std::size_t r = 0; r < kGroup; ++r) add_to(sums + channels + (i + r) * channels + j, products[r]);
        }
    }
}

}  // namespace

void sum_rows_avx512bf16(const FeatureMap& map, std::size_t step, std::size_t first, std::size_t last, double* sums) {
    // Pairs whose products are summed in floats.
    constexpr std::size_t kAtOnce = 48, kMost = 256;
    alignas(64) std::uint32_t pairs[kAtOnce * kMost];
    alignas(64) static constexpr std::uint16_t kNothing[kMost] = {};
    const auto* data = static_cast<const std::uint16_t*>(map.data);
    const std::size_t channels = map.channels;
    std::size_t held = 0;
    const std::uint16_t* one = nullptr;
    const auto take = [&](const std::uint16_t* other) {
        for (std::size_t c = 0; c < channels; c += kGroup)
            _mm512_store_si512(pairs + held * channels + c, pairs_of(one + c, other + c));
        one = nullptr;
        if (++held < kAtOnce) return;
        add_pairs(pairs, held, channels, sums);
        held = 0;
    };
    for (std::size_t row = (first + step - 1) / step * step; row < last; row += step) {
        for (std::size_t column = 0; column < map.width; column += step) {
            const std::uint16_t* pixel = data + map.at(row, column);
            if (one == nullptr) {
                one = pixel;
            } else {
                take(pixel);
            }
        }
    }
    if (one != nullptr) take(kNothing);
    add_pairs(pairs, held, channels, sums);
}

void convolve_avx512bf16(const Convolution& work, std::size_t first, std::size_t last) {
    convolve_by<PairsOfHalves>(work, first, last);
}

}  // namespace fairlead::pictures

#include <immintrin.h>

#include <array>
#include <utility>

#include "kernels/map_lanes.hpp"

namespace fairlead::pictures {
namespace {

// Pixels by groups of sixteen filters: a loaded pair of a pixel serves all groups of a block.
constexpr std::size_t kPixels = 8, kGroups = 2;

inline __m512bh pair(const std::uint16_t* from) {
    int word;
    std::memcpy(&word, from, sizeof word);
    return (__m512bh)_mm512_set1_epi32(word);
}

template <std::size_t N, std::size_t G>
void block(const Convolution& work, const std::uint16_t* source, const std::uint16_t* filters, std::size_t packed,
           std::size_t row, std::size_t column, std::size_t channel) {
    const std::size_t run = (work.run() + 31) / 32 * 32, step = work.stride * work.source.channels;
    __m512 sums[G][N];
    for (auto& group : sums)
        for (auto& sum : group) sum = _mm512_setzero_ps();
    for (std::size_t down = 0; down < work.side; ++down, source += work.source.pitch(), filters += run * kGroup) {
        for (std::size_t k = 0; k < work.run(); k += 2) {
            __m512bh by[G];
            for (std::size_t g = 0; g < G; ++g)
                by[g] = (__m512bh)_mm512_loadu_si512(filters + g * packed + k * kGroup);
#pragma GCC unroll 8
            for (std::size_t p = 0; p < N; ++p) {
                const __m512bh seen = pair(source + p * step + k);
#pragma GCC unroll 2
                for (std::size_t g = 0; g < G; ++g) sums[g][p] = _mm512_dpbf16_ps(sums[g][p], by[g], seen);
            }
        }
    }
    for (std::size_t g = 0; g < G; ++g)
        finish(work, reinterpret_cast<const float*>(sums[g]), kGroup, N, row, column, channel + g * kGroup);
}

using Block = void (*)(const Convolution&, const std::uint16_t*, const std::uint16_t*, std::size_t, std::size_t,
                       std::size_t, std::size_t);

// Blocks of 1 to kPixels pixels.
template <std::size_t G, std::size_t... N>
constexpr std::array<Block, sizeof...(N)> blocks(std::index_sequence<N...>) {
    return {block<N + 1, G>...};
}

template <std::size_t G>
void convolve_row(const Convolution& work, const std::uint16_t* filters, std::size_t packed, std::size_t row,
                  std::size_t channel) {
    static constexpr auto kBlocks = blocks<G>(std::make_index_sequence<kPixels>());
    const FeatureMap& map = work.source;
    // As few blocks as there can be, all about as wide: sums of a single pixel would wait for one another.
    const std::size_t count = (work.width + kPixels - 1) / kPixels;
    for (std::size_t index = 0; index < count; ++index) {
        const std::size_t column = index * work.width / count, next = (index + 1) * work.width / count;
        const auto* from = static_cast<const std::uint16_t*>(map.data) +
                           map.at(row * work.stride, column * work.stride, work.side / 2);
        kBlocks[next - column - 1](work, from, filters + channel / kGroup * packed, packed, row, column, channel);
    }
}

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
    const std::size_t packed = (work.run() + 31) / 32 * 32 * kGroup * work.side;
    const auto* filters = static_cast<const std::uint16_t*>(work.filters);
    for (std::size_t row = first; row < last; ++row) {
        std::size_t channel = 0;
        for (; channel + kGroups * kGroup <= work.outputs; channel += kGroups * kGroup)
            convolve_row<kGroups>(work, filters, packed, row, channel);
        for (; channel < work.outputs; channel += kGroup) convolve_row<1>(work, filters, packed, row, channel);
    }
}

}  // namespace fairlead::pictures

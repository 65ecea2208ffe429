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

}  // namespace

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

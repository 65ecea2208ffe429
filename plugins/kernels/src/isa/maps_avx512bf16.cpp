#include <immintrin.h>

#include <array>
#include <utility>

#include "kernels/map_lanes.hpp"

namespace fairlead::pictures {
namespace {

constexpr std::size_t kPixels = 12;

inline __m512bh pair(const std::uint16_t* from) {
    int word;
    std::memcpy(&word, from, sizeof word);
    return (__m512bh)_mm512_set1_epi32(word);
}

template <std::size_t N>
void block(const Convolution& work, const std::uint16_t* source, const std::uint16_t* filters, std::size_t row,
           std::size_t column, std::size_t channel) {
    const std::size_t run = (work.run() + 31) / 32 * 32, step = work.stride * work.source.channels;
    __m512 sums[N];
    for (auto& sum : sums) sum = _mm512_setzero_ps();
    for (std::size_t down = 0; down < work.side; ++down, source += work.source.pitch(), filters += run * kGroup) {
        for (std::size_t k = 0; k < work.run(); k += 2) {
            const auto by = (__m512bh)_mm512_loadu_si512(filters + k * kGroup);
#pragma GCC unroll 12
            for (std::size_t p = 0; p < N; ++p) sums[p] = _mm512_dpbf16_ps(sums[p], by, pair(source + p * step + k));
        }
    }
    finish(work, reinterpret_cast<const float*>(sums), kGroup, N, row, column, channel);
}

using Block = void (*)(const Convolution&, const std::uint16_t*, const std::uint16_t*, std::size_t, std::size_t,
                       std::size_t);

// Blocks of 1 to kPixels pixels.
template <std::size_t... N>
constexpr std::array<Block, sizeof...(N)> blocks(std::index_sequence<N...>) {
    return {block<N + 1>...};
}

constexpr auto kBlocks = blocks(std::make_index_sequence<kPixels>());

}  // namespace

void convolve_avx512bf16(const Convolution& work, std::size_t first, std::size_t last) {
    const FeatureMap& map = work.source;
    const std::size_t packed = (work.run() + 31) / 32 * 32 * kGroup * work.side;
    const std::size_t count = (work.width + kPixels - 1) / kPixels;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t channel = 0; channel < work.outputs; channel += kGroup) {
            const auto* filters = static_cast<const std::uint16_t*>(work.filters) + channel / kGroup * packed;
            // As few blocks as there can be, all about as wide: sums of a single pixel would wait for one another.
            for (std::size_t index = 0; index < count; ++index) {
                const std::size_t column = index * work.width / count, next = (index + 1) * work.width / count;
                const auto* from = static_cast<const std::uint16_t*>(map.data) +
                                   map.at(row * work.stride, column * work.stride, work.side / 2);
                kBlocks[next - column - 1](work, from, filters, row, column, channel);
            }
        }
    }
}

}  // namespace fairlead::pictures

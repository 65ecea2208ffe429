#include <immintrin.h>

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

}  // namespace

void convolve_avx512bf16(const Convolution& work, std::size_t first, std::size_t last) {
    const FeatureMap& map = work.source;
    const std::size_t packed = (work.run() + 31) / 32 * 32 * kGroup * work.side;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t channel = 0; channel < work.outputs; channel += kGroup) {
            const auto* filters = static_cast<const std::uint16_t*>(work.filters) + channel / kGroup * packed;
            const auto from = [&](std::size_t column) {
                return static_cast<const std::uint16_t*>(map.data) +
                       map.at(row * work.stride, column * work.stride, work.side / 2);
            };
            std::size_t column = 0;
            for (; column + kPixels <= work.width; column += kPixels)
                block<kPixels>(work, from(column), filters, row, column, channel);
            for (; column < work.width; ++column) block<1>(work, from(column), filters, row, column, channel);
        }
    }
}

}  // namespace fairlead::pictures

#pragma once

#include <immintrin.h>

#include <array>
#include <utility>

#include "kernels/map_lanes.hpp"

// Convolutions by instructions that multiply a few small numbers at once, those of a 32-bit word, and add their products.
//
// A `Dot` says what a word holds: Number and Filter are the types in memory, kNumbers how many a word has, kRun the
// multiple that rows of filters are filled to, Sum and Total what sums are in a register and in memory.
namespace fairlead::pictures {
namespace {

// Groups of sixteen filters, at most, which a loaded word serves.
inline constexpr std::size_t kMostGroups = 2;

inline __m512i word_of(const void* from) {
    int word;
    std::memcpy(&word, from, sizeof word);
    return _mm512_set1_epi32(word);
}

// What a block of pixels reads.
template <class Dot>
struct Reading {
    const Convolution& work;
    const typename Dot::Number* source;  // of the first pixel's first row and column
    const typename Dot::Filter* filters;
    std::size_t row_of_filters, group_of_filters;  // in numbers
    std::size_t row, column, channel;
};

template <class Dot>
std::size_t row_of_filters(const Convolution& work) {
    return (work.run() + Dot::kRun - 1) / Dot::kRun * Dot::kRun * kGroup;
}

template <class Dot, std::size_t N, std::size_t G>
void give_sums(const Reading<Dot>& reading, const typename Dot::Sum (&sums)[G][N]) {
    for (std::size_t g = 0; g < G; ++g)
        finish(reading.work, reinterpret_cast<const typename Dot::Total*>(sums[g]), kGroup, N, reading.row,
               reading.column, reading.channel + g * kGroup);
}

template <class Dot, std::size_t N, std::size_t G>
void block(const Reading<Dot>& reading) {
    const Convolution& work = reading.work;
    const std::size_t run = work.run(), step = work.stride * work.source.channels;
    typename Dot::Sum sums[G][N];
    for (auto& group : sums)
        for (auto& sum : group) sum = Dot::nothing();
    const auto* source = reading.source;
    const auto* filters = reading.filters;
    for (std::size_t down = 0; down < work.side; ++down) {
        for (std::size_t k = 0; k < run; k += Dot::kNumbers) {
            __m512i by[G];
            for (std::size_t g = 0; g < G; ++g)
                by[g] = _mm512_loadu_si512(filters + g * reading.group_of_filters + k * kGroup);
#pragma GCC unroll 16
            for (std::size_t p = 0; p < N; ++p) {
                const __m512i seen = word_of(source + p * step + k);
#pragma GCC unroll 2
                for (std::size_t g = 0; g < G; ++g) sums[g][p] = Dot::add(sums[g][p], seen, by[g]);
            }
        }
        source += work.source.pitch();
        filters += reading.row_of_filters;
    }
    give_sums<Dot, N, G>(reading, sums);
}

template <class Dot>
using Block = void (*)(const Reading<Dot>&);

// Blocks of 1 to as many pixels as there are registers for.
template <class Dot, std::size_t G, std::size_t... N>
constexpr std::array<Block<Dot>, sizeof...(N)> blocks(std::index_sequence<N...>) {
    return {block<Dot, N + 1, G>...};
}

template <class Dot, std::size_t G>
void convolve_row(const Convolution& work, std::size_t row, std::size_t channel) {
    constexpr std::size_t kPixels = 16 / G;
    static constexpr auto kBlocks = blocks<Dot, G>(std::make_index_sequence<kPixels>());
    const FeatureMap& map = work.source;
    const std::size_t length = row_of_filters<Dot>(work), group = length * work.side;
    const auto* filters = static_cast<const typename Dot::Filter*>(work.filters) + channel / kGroup * group;
    // As few blocks as there can be, all about as wide: sums of a single pixel would wait for one another.
    const std::size_t count = (work.width + kPixels - 1) / kPixels;
    for (std::size_t index = 0; index < count; ++index) {
        const std::size_t column = index * work.width / count, next = (index + 1) * work.width / count;
        const auto* from = static_cast<const typename Dot::Number*>(map.data) +
                           map.at(row * work.stride, column * work.stride, work.side / 2);
        kBlocks[next - column - 1]({work, from, filters, length, group, row, column, channel});
    }
}

template <class Dot>
void convolve_by(const Convolution& work, std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
        std::size_t channel = 0;
        for (; channel + kMostGroups * kGroup <= work.outputs; channel += kMostGroups * kGroup)
            convolve_row<Dot, kMostGroups>(work, row, channel);
        for (; channel < work.outputs; channel += kGroup) convolve_row<Dot, 1>(work, row, channel);
    }
}

}  // namespace
}  // namespace fairlead::pictures

#pragma once

#include <cstddef>
#include <cstring>

#include "fairlead/pictures/least_map.hpp"

namespace fairlead::pictures {
namespace {

// Eight numbers at once; compilers cut them into an ISA's registers.
using Doubles = double __attribute__((vector_size(64)));

// Four rows by C times eight columns of a product, whose sums stay in registers.
template <std::size_t C>
inline void multiply_block(const double* left, const double* right, std::size_t side, double* target) {
    constexpr std::size_t kRows = 4;
    Doubles sums[kRows][C] = {};
    for (std::size_t k = 0; k < side; ++k) {
        Doubles by[C];
        std::memcpy(by, right + k * side, sizeof by);
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
            for (std::size_t c = 0; c < C; ++c) sums[r][c] += by[c] * left[r * side + k];
        }
    }
    for (std::size_t r = 0; r < kRows; ++r) std::memcpy(target + r * side, sums[r], sizeof sums[r]);
}

// Of two matrices [side, side], side a multiple of 8; of symmetric products, a half is computed.
void multiply_doubles(const double* left, const double* right, std::size_t side, bool symmetric, double* target) {
    constexpr std::size_t kRows = 4, kColumns = 4;
    for (std::size_t row = 0; row < side; row += kRows) {
        const double* from = left + row * side;
        double* to = target + row * side;
        std::size_t column = symmetric ? row / kSide * kSide : 0;
        for (; column + kColumns * kSide <= side; column += kColumns * kSide)
            multiply_block<kColumns>(from, right + column, side, to + column);
        for (; column + 2 * kSide <= side; column += 2 * kSide)
            multiply_block<2>(from, right + column, side, to + column);
        for (; column < side; column += kSide) multiply_block<1>(from, right + column, side, to + column);
    }
    if (!symmetric) return;
    for (std::size_t row = kSide; row < side; ++row)
        for (std::size_t column = 0; column < row / kSide * kSide; ++column)
            target[row * side + column] = target[column * side + row];
}

}  // namespace
}  // namespace fairlead::pictures

#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/kernel_table.hpp"
#include "fairlead/vectors/packed_rows.hpp"

namespace fairlead::kernels {

// values[i] += number i << shift
inline void add_packed(const std::uint8_t* bytes, std::size_t count, std::uint32_t bits, std::int16_t* values) {
    std::uint32_t shift = 0;
    for (const std::uint32_t width : vectors::kPlanes) {
        if ((bits & width) == 0) continue;
        const std::size_t size = (count * width + 7) / 8;
        const std::uint32_t mask = (1U << width) - 1;
        for (std::size_t first = 0, low = 0; first < count; first += size, low += width) {
            const std::size_t some = count - first < size ? count - first : size;
            std::int16_t* to = values + first;
            for (std::size_t j = 0; j < some; ++j) {
                to[j] = static_cast<std::int16_t>(to[j] + static_cast<std::int16_t>((bytes[j] >> low & mask) << shift));
            }
        }
        bytes += size;
        shift += width;
    }
}

// values[d], what refines coordinate d of a code: becomes that coordinate. `Shift`: which half of a byte holds it.
template <int Shift>
inline void refine_nibbles(const std::uint8_t* code, std::size_t count, std::uint32_t extra, std::int16_t* values) {
    const auto fine = static_cast<std::int16_t>(1 << extra), half = static_cast<std::int16_t>(fine >> 1);
    for (std::size_t d = 0; d < count; ++d) {
        // Masks in place of branches, in 16 bits: the loop becomes one of vectors.
        const auto near = static_cast<std::int16_t>((code[d] >> Shift & 15) - 8);
        const auto low = static_cast<std::int16_t>(-(near == -vectors::kMostNibble));
        const auto edge = static_cast<std::int16_t>(low | -(near == vectors::kMostNibble));
        const auto more = static_cast<std::int16_t>(values[d] + (values[d] * (vectors::kEdge - 1) & edge) - half);
        values[d] = static_cast<std::int16_t>(near * fine + (more ^ low) - low);
    }
}

// values = the leading coordinates of a vector, in steps by 2^extra
inline void leading_values(const CodedRows& coded, const std::uint8_t* code, const std::uint8_t* row,
                           std::int16_t* values) {
    const auto half = static_cast<std::int16_t>((1 << coded.extra) >> 1);
    const std::size_t bytes = coded.leading * coded.bits / 8;
    if (coded.bits == 8) {
        for (std::size_t d = 0; d < bytes; ++d) {
            values[d] = static_cast<std::int16_t>(((code[d] - 128) << coded.extra) - half);
        }
        add_packed(row, coded.leading, coded.extra, values);
        return;
    }
    for (std::size_t d = 0; d < coded.leading; ++d) values[d] = 0;
    add_packed(row, coded.leading, coded.extra, values);
    refine_nibbles<0>(code, bytes, coded.extra, values);
    refine_nibbles<4>(code, bytes, coded.extra, values + bytes);
}

// Products of float queries and vectors that are codes with more bits behind them (see CodedRows).
template <class V>
void coded_products(const CodedRows& coded, const std::uint32_t* ids, std::size_t count, const float* query,
                    std::int16_t* values, float* out) {
    const auto middle = static_cast<std::int16_t>((1 << coded.tail_bits) >> 1);
    const std::size_t lead = coded.leading, all = lead + coded.trailing;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* code = coded.codes + static_cast<std::size_t>(ids[i]) * coded.code_stride;
        const std::uint8_t* row = coded.rows + static_cast<std::size_t>(ids[i]) * coded.row_stride;
        leading_values(coded, code, row, values);
        for (std::size_t d = lead; d < all; ++d) values[d] = static_cast<std::int16_t>(-middle);
        add_packed(row + vectors::packed_bytes(lead, coded.extra), coded.trailing, coded.tail_bits, values + lead);
        float sums[16] = {};
        std::size_t d = 0;
        for (; d + 16 <= all; d += 16) {
            for (std::size_t j = 0; j < 16; ++j) sums[j] += static_cast<float>(values[d + j]) * query[d + j];
        }
        for (; d < all; ++d) sums[0] += static_cast<float>(values[d]) * query[d];
        float sum = 0.0F;
        for (const float one : sums) sum += one;
        out[i] = sum;
    }
}

}  // namespace fairlead::kernels

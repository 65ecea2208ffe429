#pragma once

#include <cmath>
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

// A coordinate of 4 bits, refined by 8 more: as `refine_nibbles` has it.
inline std::int16_t refined_nibble(std::int16_t near, std::int16_t more) {
    const auto low = static_cast<std::int16_t>(-(near == -vectors::kMostNibble));
    const auto edge = static_cast<std::int16_t>(low | -(near == vectors::kMostNibble));
    const auto wide = static_cast<std::int16_t>(more + (more * (vectors::kEdge - 1) & edge) - 128);
    return static_cast<std::int16_t>(near * 256 + (wide ^ low) - low);
}

// Where the parts of a query lie that belong to a byte's low and high halves, of leading and of trailing coordinates: each
// begins anew and has zeros behind it, so that loops are of whole vectors.
struct NibbleParts {
    std::size_t bytes, first, lead, tail;  // of a half of each kind, and what it is rounded up to

    explicit NibbleParts(const CodedRows& coded)
        : bytes(coded.leading / 2), first((coded.trailing + 1) / 2), lead((bytes + 31) / 32 * 32),
          tail((first + 31) / 32 * 32) {}

    std::size_t place(const CodedRows& coded, std::size_t d) const {
        if (d < bytes) return d;
        if (d < coded.leading) return lead + d - bytes;
        const std::size_t t = d - coded.leading;
        return 2 * lead + (t < first ? t : tail + t - first);
    }
};

// The query in whole numbers, as large as sums of products in 32 bits allow; returns what one is worth. Sixteen sums at a
// time, which are the same with vectors of any length.
inline float whole_query(const CodedRows& coded, const NibbleParts& parts, const float* query, std::int16_t* whole) {
    constexpr float most_lead = (vectors::kMostNibble + vectors::kEdge) * 256.0F, most_tail = 2048.0F;
    const std::size_t lead = coded.leading, all = lead + coded.trailing;
    float sums[16] = {}, largest[16] = {}, sum = 1e-30F, most = 1e-30F;
    for (std::size_t first = 0; first < all; first += 16) {
        for (std::size_t j = 0; j < (all - first < 16 ? all - first : 16); ++j) {
            const float size = std::fabs(query[first + j]);
            sums[j] += size * (first + j < lead ? most_lead : most_tail);
            largest[j] = largest[j] < size ? size : largest[j];
        }
    }
    for (std::size_t j = 0; j < 16; ++j) {
        sum += sums[j];
        most = most < largest[j] ? largest[j] : most;
    }
    const float by_sum = 2.1e9F / sum, by_one = 32000.0F / most, scale = by_sum < by_one ? by_sum : by_one;
    for (std::size_t d = 0; d < 2 * (parts.lead + parts.tail); ++d) whole[d] = 0;
    for (std::size_t d = 0; d < all; ++d) {
        const float value = query[d] * scale;
        whole[parts.place(coded, d)] =
            static_cast<std::int16_t>(static_cast<std::int32_t>(value + (value < 0.0F ? -0.5F : 0.5F)));
    }
    return 1.0F / scale;
}

// The same for 4 bits, refined by 8, and 12 bits behind them: every coordinate is unpacked where it is multiplied, in whole
// numbers of 16 bits. What is read beyond a row is multiplied with zeros.
inline void nibble_products(const CodedRows& coded, const std::uint32_t* ids, std::size_t count, const float* query,
                            std::int16_t* whole, float* out) {
    const NibbleParts parts(coded);
    const float worth = whole_query(coded, parts, query, whole);
    const std::size_t bytes = parts.bytes, first = parts.first, lead_blocks = parts.lead / 32, tail_blocks = parts.tail / 32;
    const std::int16_t *q_low = whole, *q_high = q_low + parts.lead, *q_near = q_high + parts.lead;
    const std::int16_t* q_far = q_near + parts.tail;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* code = coded.codes + static_cast<std::size_t>(ids[i]) * coded.code_stride;
        const std::uint8_t* row = coded.rows + static_cast<std::size_t>(ids[i]) * coded.row_stride;
        const std::uint8_t *tail = row + coded.leading, *nibbles = tail + coded.trailing;
        std::int32_t sum = 0;
        for (std::size_t d = 0; d < lead_blocks * 32; ++d) {
            sum += refined_nibble(static_cast<std::int16_t>((code[d] & 15) - 8), row[d]) * q_low[d];
        }
        for (std::size_t d = 0; d < lead_blocks * 32; ++d) {
            sum += refined_nibble(static_cast<std::int16_t>((code[d] >> 4) - 8), row[bytes + d]) * q_high[d];
        }
        for (std::size_t j = 0; j < tail_blocks * 32; ++j) {
            sum += static_cast<std::int16_t>((tail[j] | (nibbles[j] & 15) << 8) - 2048) * q_near[j];
        }
        for (std::size_t j = 0; j < tail_blocks * 32; ++j) {
            sum += static_cast<std::int16_t>((tail[first + j] | (nibbles[j] >> 4) << 8) - 2048) * q_far[j];
        }
        out[i] = static_cast<float>(sum) * worth;
    }
}

// Products of float queries and vectors that are codes with more bits behind them (see CodedRows).
template <class V>
void coded_products(const CodedRows& coded, const std::uint32_t* ids, std::size_t count, const float* query,
                    std::int16_t* values, float* out) {
    if (coded.bits == 4 && coded.extra == 8 && coded.tail_bits == 12) {
        nibble_products(coded, ids, count, query, values, out);
        return;
    }
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

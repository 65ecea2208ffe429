#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

inline constexpr std::size_t kPrefetchRows = 4;

// y over G groups of columns; rows are added in the order given, so a skipped zero weight changes no bit.
template <class V, int G>
FAIRLEAD_INLINE void sum_block(const Q8View& matrix, const std::int32_t* rows, const float* weight,
                               std::size_t count, std::size_t group, float* y) {
    constexpr int vectors = static_cast<int>(kGroup) / V::width;
    typename V::Vec sum[G][vectors];
    FAIRLEAD_UNROLL
    for (int g = 0; g < G; ++g) {
        FAIRLEAD_UNROLL
        for (int v = 0; v < vectors; ++v) sum[g][v] = V::zero();
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t row = rows ? static_cast<std::size_t>(rows[i]) : i;
        if (rows && i + kPrefetchRows < count) {
            __builtin_prefetch(matrix.row(static_cast<std::size_t>(rows[i + kPrefetchRows])) + group * kGroup);
        }
        const std::int8_t* q = matrix.row(row) + group * kGroup;
        const std::uint16_t* scale = matrix.row_scale(row) + group;
        const typename V::Vec w = V::set1(weight[i]);
        FAIRLEAD_UNROLL
        for (int g = 0; g < G; ++g) {
            const typename V::Vec s = V::set1_half(scale + g);
            FAIRLEAD_UNROLL
            for (int v = 0; v < vectors; ++v) {
                const typename V::Vec value = V::mul(V::from_int8(q + g * kGroup + v * V::width), s);
                sum[g][v] = V::fma(value, w, sum[g][v]);
            }
        }
    }
    FAIRLEAD_UNROLL
    for (int g = 0; g < G; ++g) {
        FAIRLEAD_UNROLL
        for (int v = 0; v < vectors; ++v) V::store(y + (group + g) * kGroup + v * V::width, sum[g][v]);
    }
}

template <class V>
void sum_rows(const Q8View& matrix, const std::int32_t* rows, const float* weight, std::size_t count,
              std::size_t begin, std::size_t end, float* y) {
    constexpr int wide = 2 * V::column_groups;
    std::size_t g = begin;
    for (; g + wide <= end; g += wide) sum_block<V, wide>(matrix, rows, weight, count, g, y);
    for (; g < end; ++g) sum_block<V, 1>(matrix, rows, weight, count, g, y);
}

}  // namespace fairlead::kernels

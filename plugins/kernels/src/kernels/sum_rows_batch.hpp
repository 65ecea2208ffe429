#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

// B outputs over G groups of columns: each dequantized vector serves B fused multiply-adds.
template <class V, int G, int B>
FAIRLEAD_INLINE void sum_tile(const Q8View& matrix, const float* weight, std::size_t group, float* out) {
    constexpr int vectors = static_cast<int>(kGroup) / V::width;
    typename V::Vec sum[B][G * vectors];
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) {
        FAIRLEAD_UNROLL
        for (int v = 0; v < G * vectors; ++v) sum[b][v] = V::zero();
    }
    for (std::size_t i = 0; i < matrix.rows; ++i) {
        const std::int8_t* q = matrix.row(i) + group * kGroup;
        const std::uint16_t* scale = matrix.row_scale(i) + group;
        typename V::Vec w[B];
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) w[b] = V::set1(weight[b * matrix.rows + i]);
        FAIRLEAD_UNROLL
        for (int v = 0; v < G * vectors; ++v) {
            const typename V::Vec value = V::mul(V::from_int8(q + v * V::width), V::set1_half(scale + v / vectors));
            FAIRLEAD_UNROLL
            for (int b = 0; b < B; ++b) sum[b][v] = V::fma(value, w[b], sum[b][v]);
        }
    }
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) {
        FAIRLEAD_UNROLL
        for (int v = 0; v < G * vectors; ++v) {
            V::store(out + b * matrix.columns + group * kGroup + v * V::width, sum[b][v]);
        }
    }
}

template <class V, int G>
FAIRLEAD_INLINE void sum_batch(const Q8View& matrix, const float* weight, std::size_t batch, std::size_t group,
                               float* out) {
    std::size_t b = 0;
    for (; b + V::column_batch <= batch; b += V::column_batch) {
        sum_tile<V, G, V::column_batch>(matrix, weight + b * matrix.rows, group, out + b * matrix.columns);
    }
    for (; b < batch; ++b) sum_tile<V, G, 1>(matrix, weight + b * matrix.rows, group, out + b * matrix.columns);
}

template <class V>
void sum_rows_batch(const Q8View& matrix, const float* weight, std::size_t batch, std::size_t begin,
                    std::size_t end, float* out) {
    std::size_t g = begin;
    for (; g + V::column_groups <= end; g += V::column_groups) {
        sum_batch<V, V::column_groups>(matrix, weight, batch, g, out);
    }
    for (; g < end; ++g) sum_batch<V, 1>(matrix, weight, batch, g, out);
}

}  // namespace fairlead::kernels

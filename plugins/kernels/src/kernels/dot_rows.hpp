#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

// R rows against one vector. Each row has one accumulator that walks the columns in order, whatever R is.
// An int8 times a float16 has at most 18 significant bits, so the dequantized weight is exact in float32.
template <class V, int R>
FAIRLEAD_INLINE void dot_block(const std::int8_t* const (&q)[R], const std::uint16_t* const (&scale)[R],
                               const float* x, std::size_t groups, float* out) {
    typename V::Vec sum[R];
    for (int r = 0; r < R; ++r) sum[r] = V::zero();
    for (std::size_t g = 0; g < groups; ++g) {
        typename V::Vec s[R];
        for (int r = 0; r < R; ++r) s[r] = V::set1_half(scale[r] + g);
        for (std::size_t c = g * kGroup; c < (g + 1) * kGroup; c += V::width) {
            const typename V::Vec column = V::load(x + c);
            for (int r = 0; r < R; ++r) sum[r] = V::fma(V::mul(V::from_int8(q[r] + c), s[r]), column, sum[r]);
        }
    }
    for (int r = 0; r < R; ++r) out[r] = V::sum(sum[r]);
}

template <class V, int R>
FAIRLEAD_INLINE void dot_at(const Q8View& matrix, const std::int32_t* rows, std::size_t first, const float* x,
                            float* out) {
    const std::int8_t* q[R];
    const std::uint16_t* scale[R];
    for (int r = 0; r < R; ++r) {
        const std::size_t row = rows ? static_cast<std::size_t>(rows[first + r]) : first + r;
        q[r] = matrix.row(row);
        scale[r] = matrix.row_scale(row);
    }
    dot_block<V, R>(q, scale, x, matrix.groups(), out + first);
}

template <class V>
void dot_rows(const Q8View& matrix, const std::int32_t* rows, std::size_t begin, std::size_t end, const float* x,
              float* out) {
    std::size_t i = begin;
    for (; i + 4 <= end; i += 4) dot_at<V, 4>(matrix, rows, i, x, out);
    for (; i < end; ++i) dot_at<V, 1>(matrix, rows, i, x, out);
}

}  // namespace fairlead::kernels

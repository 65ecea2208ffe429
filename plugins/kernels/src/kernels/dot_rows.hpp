#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

// R rows against one vector. Each row has one accumulator that walks the columns in order, whatever R is.
// An int8 times a float16 has at most 18 significant bits, so the dequantized weight is exact in float32.
template <class V, int R>
FAIRLEAD_INLINE void dot_block(const std::int8_t* const (&q)[R], const std::uint16_t* const (&scale)[R],
                               const float* x, std::size_t groups, float* out) {
    typename V::Vec sum[R];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) sum[r] = V::zero();
    // Scales are converted a vector at a time and then read back one by one: cheaper than one by one.
    float scales[R][V::width];
    for (std::size_t first = 0; first < groups; first += V::width) {
        const std::size_t n = groups - first < static_cast<std::size_t>(V::width) ? groups - first : V::width;
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) V::store(scales[r], V::from_half(scale[r] + first, n));
        for (std::size_t g = 0; g < n; ++g) {
            const std::size_t start = (first + g) * kGroup;
            for (std::size_t c = start; c < start + kGroup; c += V::width) {
                const typename V::Vec column = V::load(x + c);
                FAIRLEAD_UNROLL
                for (int r = 0; r < R; ++r) {
                    const typename V::Vec weight = V::mul(V::from_int8(q[r] + c), V::set1(scales[r][g]));
                    sum[r] = V::fma(weight, column, sum[r]);
                }
            }
        }
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) out[r] = V::sum(sum[r]);
}

template <class V, int R>
FAIRLEAD_INLINE void dot_at(const Q8View& matrix, const std::int32_t* rows, std::size_t first, const float* x,
                            float* out) {
    const std::int8_t* q[R];
    const std::uint16_t* scale[R];
    FAIRLEAD_UNROLL
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

#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

// R rows of a float matrix against one vector. A row's accumulator walks the columns in order, whatever R is.
template <class V, int R>
FAIRLEAD_INLINE void dot_floats_block(const float* rows, std::size_t columns, const float* x, float* out) {
    typename V::Vec sum[R];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) sum[r] = V::zero();
    for (std::size_t c = 0; c < columns; c += V::width) {
        const typename V::Vec column = V::load(x + c);
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) {
            sum[r] = V::fma(V::load(rows + static_cast<std::size_t>(r) * columns + c), column, sum[r]);
        }
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) out[r] = V::sum(sum[r]);
}

template <class V>
void dot_floats(const float* matrix, std::size_t columns, std::size_t begin, std::size_t end, const float* x,
                float* out) {
    std::size_t i = begin;
    for (; i + 4 <= end; i += 4) dot_floats_block<V, 4>(matrix + i * columns, columns, x, out + i);
    for (; i < end; ++i) dot_floats_block<V, 1>(matrix + i * columns, columns, x, out + i);
}

}  // namespace fairlead::kernels

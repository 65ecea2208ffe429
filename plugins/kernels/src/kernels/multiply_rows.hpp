#pragma once

#include "fairlead/kernel_table.hpp"

namespace fairlead::kernels {

// Writes R rows as [columns / width][R][width]: a tile then reads one stream. Row by row, with columns a multiple
// of the cache's period, all rows would compete for the same lines.
template <class V, int R>
FAIRLEAD_INLINE void dequantize_interleaved(const Q8View& matrix, std::size_t row, float* out) {
    for (int r = 0; r < R; ++r) {
        const std::int8_t* q = matrix.row(row + r);
        for (std::size_t g = 0; g < matrix.groups(); ++g) {
            const typename V::Vec scale = V::set1_half(matrix.row_scale(row + r) + g);
            for (std::size_t c = g * kGroup; c < (g + 1) * kGroup; c += V::width) {
                V::store(out + c * R + r * V::width, V::mul(V::from_int8(q + c), scale));
            }
        }
    }
}

// A tile of R dequantized rows and B vectors: R * B accumulators stay in registers.
template <class V, int R, int B>
FAIRLEAD_INLINE void multiply_tile(const float* weights, std::size_t columns, const float* x, float* out,
                                   std::size_t out_stride) {
    typename V::Vec sum[R][B];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) sum[r][b] = V::zero();
    }
    for (std::size_t c = 0; c < columns; c += V::width) {
        typename V::Vec column[B];
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) column[b] = V::load(x + b * columns + c);
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) {
            const typename V::Vec weight = V::load(weights + c * R + r * V::width);
            FAIRLEAD_UNROLL
            for (int b = 0; b < B; ++b) sum[r][b] = V::fma(weight, column[b], sum[r][b]);
        }
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) out[b * out_stride + r] = V::sum(sum[r][b]);
    }
}

template <class V, int R>
FAIRLEAD_INLINE void multiply_block(const Q8View& matrix, std::size_t row, const float* x, std::size_t batch,
                                    float* out, float* scratch) {
    dequantize_interleaved<V, R>(matrix, row, scratch);
    const std::size_t columns = matrix.columns;
    std::size_t b = 0;
    for (; b + V::tile_batch <= batch; b += V::tile_batch) {
        multiply_tile<V, R, V::tile_batch>(scratch, columns, x + b * columns, out + b * matrix.rows + row, matrix.rows);
    }
    for (; b < batch; ++b) {
        multiply_tile<V, R, 1>(scratch, columns, x + b * columns, out + b * matrix.rows + row, matrix.rows);
    }
}

template <class V>
void multiply_rows(const Q8View& matrix, std::size_t begin, std::size_t end, const float* x, std::size_t batch,
                   float* out, float* scratch) {
    static_assert(V::tile_rows <= kScratchRows);
    std::size_t row = begin;
    for (; row + V::tile_rows <= end; row += V::tile_rows) {
        multiply_block<V, V::tile_rows>(matrix, row, x, batch, out, scratch);
    }
    for (; row < end; ++row) multiply_block<V, 1>(matrix, row, x, batch, out, scratch);
}

}  // namespace fairlead::kernels

#pragma once

#include "fairlead/kernel_table.hpp"
#include "kernels/quantize.hpp"

namespace fairlead::kernels {

// A tile of R dequantized rows and B vectors: R * B accumulators stay in registers.
template <class V, int R, int B>
FAIRLEAD_INLINE void multiply_tile(const float* weights, std::size_t columns, const float* x, float* out,
                                   std::size_t out_stride) {
    typename V::Vec sum[R][B];
    for (int r = 0; r < R; ++r) {
        for (int b = 0; b < B; ++b) sum[r][b] = V::zero();
    }
    for (std::size_t c = 0; c < columns; c += V::width) {
        typename V::Vec column[B];
        for (int b = 0; b < B; ++b) column[b] = V::load(x + b * columns + c);
        for (int r = 0; r < R; ++r) {
            const typename V::Vec weight = V::load(weights + r * columns + c);
            for (int b = 0; b < B; ++b) sum[r][b] = V::fma(weight, column[b], sum[r][b]);
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int b = 0; b < B; ++b) out[b * out_stride + r] = V::sum(sum[r][b]);
    }
}

template <class V, int R>
FAIRLEAD_INLINE void multiply_block(const Q8View& matrix, std::size_t row, const float* x, std::size_t batch,
                                    float* out, float* scratch) {
    dequantize<V>(matrix, row, row + R, scratch);
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
    std::size_t row = begin;
    for (; row + kScratchRows <= end; row += kScratchRows) {
        multiply_block<V, kScratchRows>(matrix, row, x, batch, out, scratch);
    }
    for (; row < end; ++row) multiply_block<V, 1>(matrix, row, x, batch, out, scratch);
}

}  // namespace fairlead::kernels

#pragma once

#include "kernels/lanes.hpp"

namespace fairlead::kernels {

// One row against B vectors: its weights are unpacked once for all of them. The sums have dot_packed's order.
template <class V, int Bits, int B>
FAIRLEAD_INLINE void multiply_packed(const PackedView& matrix, const std::uint8_t* row, const InputView& x,
                                     std::size_t b0, float* out, std::size_t out_stride) {
    typename V::Vec sum[B];
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) sum[b] = V::zero();
    for_each_lanes<V>(matrix.lanes(), [&](auto lanes) {
        typename V::Raw w[8];
        lanes.template weights<Bits>(row, w);
        const typename V::Vec scale = lanes.scales(row + matrix.quant_bytes());
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) {
            const typename V::Vec factor = V::mul(scale, lanes.floats(x.scale(b0 + b)));
            sum[b] = V::fma(V::to_float(lanes.template dots<Bits>(w, x, b0 + b)), factor, sum[b]);
        }
    });
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) out[(b0 + b) * out_stride] = V::sum(sum[b]);
}

// Rows whose packed bytes stay in the second-level cache while the batch passes over them.
inline constexpr std::size_t kRowsPerBlock = 128;

template <class V, int Bits, int B>
FAIRLEAD_INLINE void multiply_packed_rows(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                          std::size_t end, const InputView& x, std::size_t b0, float* out,
                                          std::size_t out_stride) {
    for (std::size_t i = begin; i < end; ++i) {
        const std::size_t row = rows ? static_cast<std::size_t>(rows[i]) : i;
        if (i + kRowsAhead < end) {
            const std::size_t next = rows ? static_cast<std::size_t>(rows[i + kRowsAhead]) : i + kRowsAhead;
            if (b0 == 0) prefetch(matrix.row(next), matrix.row_bytes());
        }
        multiply_packed<V, Bits, B>(matrix, matrix.row(row), x, b0, out + i, out_stride);
    }
}

template <class V, int Bits>
FAIRLEAD_INLINE void multiply_rows_of(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                      std::size_t end, const InputView& x, std::size_t batch, float* out,
                                      std::size_t out_stride) {
    for (std::size_t i = begin; i < end; i += kRowsPerBlock) {
        const std::size_t stop = i + kRowsPerBlock < end ? i + kRowsPerBlock : end;
        std::size_t b = 0;
        for (; b + V::packed_batch <= batch; b += V::packed_batch) {
            multiply_packed_rows<V, Bits, V::packed_batch>(matrix, rows, i, stop, x, b, out, out_stride);
        }
        if constexpr (V::packed_batch > 2) {
            for (; b + 2 <= batch; b += 2) {
                multiply_packed_rows<V, Bits, 2>(matrix, rows, i, stop, x, b, out, out_stride);
            }
        }
        for (; b < batch; ++b) multiply_packed_rows<V, Bits, 1>(matrix, rows, i, stop, x, b, out, out_stride);
    }
}

template <class V>
void multiply_rows_packed(const PackedView& matrix, const std::int32_t* rows, std::size_t begin, std::size_t end,
                          const InputView& x, std::size_t batch, float* out, std::size_t out_stride) {
    if (matrix.bits == 4) {
        multiply_rows_of<V, 4>(matrix, rows, begin, end, x, batch, out, out_stride);
    } else {
        multiply_rows_of<V, 8>(matrix, rows, begin, end, x, batch, out, out_stride);
    }
}

}  // namespace fairlead::kernels

#pragma once

#include "kernels/lanes.hpp"

namespace fairlead::kernels {

// R rows against B vectors: what is loaded of one serves all of the other. The sums have dot_packed's order.
template <class V, int Bits, int R, int B>
FAIRLEAD_INLINE void multiply_packed(const PackedView& matrix, const std::uint8_t* const (&row)[R],
                                     const InputView& x, std::size_t b0, float* out, std::size_t out_stride) {
    typename V::Vec sum[R][B];
    FAIRLEAD_UNROLL
    for (int i = 0; i < R * B; ++i) sum[i / B][i % B] = V::zero();
    for_each_lanes<V>(matrix.lanes(), [&](auto lanes) {
        Dots<V, Bits> dots[R][B];
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) {
            const typename V::Int correction = lanes.template correction<Bits>(x, b0 + b);
            FAIRLEAD_UNROLL
            for (int r = 0; r < R; ++r) dots[r][b] = V::template start<Bits>(correction);
        }
        FAIRLEAD_UNROLL
        for (std::size_t v = 0; v < 8; ++v) {
            typename V::Raw w[R];
            FAIRLEAD_UNROLL
            for (int r = 0; r < R; ++r) w[r] = lanes.template weights<Bits>(row[r], v);
            FAIRLEAD_UNROLL
            for (int b = 0; b < B; ++b) {
                const typename V::Raw input = V::in_register(lanes.input(x, b0 + b, v));
                FAIRLEAD_UNROLL
                for (int r = 0; r < R; ++r) dots[r][b] = V::template step<Bits>(dots[r][b], w[r], input);
            }
        }
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) {
            const typename V::Vec input_scale = lanes.floats(x.scale(b0 + b));
            FAIRLEAD_UNROLL
            for (int r = 0; r < R; ++r) {
                const typename V::Vec factor = V::mul(lanes.scales(row[r] + matrix.quant_bytes()), input_scale);
                const typename V::Int dot =
                    V::template finish<Bits>(dots[r][b], lanes.template correction<Bits>(x, b0 + b));
                sum[r][b] = V::fma(V::to_float(dot), factor, sum[r][b]);
            }
        }
    });
    FAIRLEAD_UNROLL
    for (int i = 0; i < R * B; ++i) {
        out[(b0 + static_cast<std::size_t>(i % B)) * out_stride + static_cast<std::size_t>(i / B)] =
            V::sum(sum[i / B][i % B]);
    }
}

// Rows whose packed bytes stay in the second-level cache while the batch passes over them.
inline constexpr std::size_t kRowsPerBlock = 128;

template <class V, int Bits, int R, int B>
FAIRLEAD_INLINE std::size_t multiply_packed_rows(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                                 std::size_t end, const InputView& x, std::size_t b0, float* out,
                                                 std::size_t out_stride) {
    std::size_t i = begin;
    for (; i + R <= end; i += R) {
        const std::uint8_t* row[R];
        FAIRLEAD_UNROLL
        for (std::size_t r = 0; r < R; ++r) {
            row[r] = matrix.row(rows ? static_cast<std::size_t>(rows[i + r]) : i + r);
            const std::size_t next = i + r + kRowsAhead;
            if (b0 > 0 || next >= end) continue;
            prefetch(matrix.row(rows ? static_cast<std::size_t>(rows[next]) : next), matrix.row_bytes());
        }
        multiply_packed<V, Bits, R, B>(matrix, row, x, b0, out + i, out_stride);
    }
    return i;
}

// Passes over the rows with B vectors at a time while there are as many; returns the first vector left.
template <class V, int Bits, int B>
FAIRLEAD_INLINE std::size_t multiply_vectors(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                             std::size_t end, const InputView& x, std::size_t b, std::size_t batch,
                                             float* out, std::size_t out_stride) {
    for (; b + B <= batch; b += B) {
        const std::size_t left =
            multiply_packed_rows<V, Bits, V::packed_rows, B>(matrix, rows, begin, end, x, b, out, out_stride);
        if constexpr (V::packed_rows > 1) {
            multiply_packed_rows<V, Bits, 1, B>(matrix, rows, left, end, x, b, out, out_stride);
        }
    }
    return b;
}

template <class V, int Bits>
FAIRLEAD_INLINE void multiply_rows_of(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                      std::size_t end, const InputView& x, std::size_t batch, float* out,
                                      std::size_t out_stride) {
    for (std::size_t i = begin; i < end; i += kRowsPerBlock) {
        const std::size_t stop = i + kRowsPerBlock < end ? i + kRowsPerBlock : end;
        std::size_t b = multiply_vectors<V, Bits, V::packed_batch>(matrix, rows, i, stop, x, 0, batch, out, out_stride);
        if constexpr (V::packed_batch > 4) {
            b = multiply_vectors<V, Bits, 4>(matrix, rows, i, stop, x, b, batch, out, out_stride);
        }
        if constexpr (V::packed_batch > 2) {
            b = multiply_vectors<V, Bits, 2>(matrix, rows, i, stop, x, b, batch, out, out_stride);
        }
        multiply_vectors<V, Bits, 1>(matrix, rows, i, stop, x, b, batch, out, out_stride);
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

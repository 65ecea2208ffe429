#pragma once

#include <algorithm>

#include "kernels/elementwise.hpp"

namespace fairlead::kernels {

// Whether 16 accumulators are summed at once, which for short columns is most of the work.
template <class V>
constexpr bool kSumsTogether = requires(const typename V::Vec (&v)[4][4], float* out) { V::store_sums(v, out, 0); };

// R rows of a float matrix against B vectors. A product's accumulator walks the columns in order, whatever R and B are.
template <class V, int R, int B>
FAIRLEAD_INLINE void multiply_floats_tile(const float* rows, std::size_t columns, const float* x, float* out,
                                          std::size_t out_stride) {
    typename V::Vec sum[R][B];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) sum[r][b] = V::zero();
    }
    const auto step = [&](auto load) {
        typename V::Vec column[B];
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) column[b] = load(x + static_cast<std::size_t>(b) * columns);
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) {
            const typename V::Vec weight = load(rows + static_cast<std::size_t>(r) * columns);
            FAIRLEAD_UNROLL
            for (int b = 0; b < B; ++b) sum[r][b] = V::fma(weight, column[b], sum[r][b]);
        }
    };
    std::size_t c = 0;
    for (; c + V::width <= columns; c += V::width) step([c](const float* p) { return V::load(p + c); });
    if (c < columns) {
        const std::size_t rest = columns - c;
        step([c, rest](const float* p) { return V::load_n(p + c, rest); });
    }
    if constexpr (kSumsTogether<V> && R == 4 && B == 4) {
        V::store_sums(sum, out, out_stride);
        return;
    }
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) {
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) out[static_cast<std::size_t>(b) * out_stride + r] = V::sum(sum[r][b]);
    }
}

template <class V, int R>
FAIRLEAD_INLINE void multiply_floats_rows(const float* rows, std::size_t columns, const float* x, std::size_t batch,
                                          float* out, std::size_t out_stride) {
    // As many accumulators as registers hold beside what is loaded.
    constexpr int kBatch = V::width >= 16 ? 4 : 2;
    std::size_t b = 0;
    for (; b + kBatch <= batch; b += kBatch) {
        multiply_floats_tile<V, R, kBatch>(rows, columns, x + b * columns, out + b * out_stride, out_stride);
    }
    for (; b < batch; ++b) {
        multiply_floats_tile<V, R, 1>(rows, columns, x + b * columns, out + b * out_stride, out_stride);
    }
}

template <class V>
void multiply_floats(const float* matrix, std::size_t columns, std::size_t begin, std::size_t end, const float* x,
                     std::size_t batch, float* out, std::size_t out_stride) {
    constexpr int kRows = kSumsTogether<V> || V::width < 16 ? 4 : 6;
    // Vectors that stay in the nearest cache while rows go by.
    constexpr std::size_t kNear = 24576 / sizeof(float);
    const std::size_t block = std::max<std::size_t>(4, kNear / std::max<std::size_t>(1, columns) / 4 * 4);
    for (std::size_t b = 0; b < batch; b += block) {
        const std::size_t count = std::min(block, batch - b);
        const float* some = x + b * columns;
        float* to = out + b * out_stride;
        std::size_t i = begin;
        for (; i + kRows <= end; i += kRows) {
            multiply_floats_rows<V, kRows>(matrix + i * columns, columns, some, count, to + i, out_stride);
        }
        for (; i < end; ++i) multiply_floats_rows<V, 1>(matrix + i * columns, columns, some, count, to + i, out_stride);
    }
}

}  // namespace fairlead::kernels

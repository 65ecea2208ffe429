#pragma once

#include "kernels/sum_rows_packed.hpp"

namespace fairlead::kernels {

// Rows whose centred weights are unpacked at a time, once for the whole batch.
inline constexpr std::size_t kUnpackedRows = 32;

// One chunk of a tile of rows as floats: values [row][column][lane] and scales [row][lane].
template <class V>
struct UnpackedTile {
    alignas(64) float value[kUnpackedRows][8][V::width];
    alignas(64) float scale[kUnpackedRows][V::width];
};

// sums[b] += weight[b, i] * row i for the tile's rows and B outputs, in the order and with the bits of sum_chunks.
template <class V, int B>
FAIRLEAD_INLINE void add_tile(const UnpackedTile<V>& tile, std::size_t rows, const float* weight,
                              std::size_t weight_stride, float* sums) {
    typename V::Vec sum[B][8];
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) {
        FAIRLEAD_UNROLL
        for (int e = 0; e < 8; ++e) sum[b][e] = V::load(sums + static_cast<std::size_t>(b) * kUnitFloats + e * kLanes);
    }
    for (std::size_t i = 0; i < rows; ++i) {
        const typename V::Vec scale = V::load(tile.scale[i]);
        typename V::Vec factor[B];
        FAIRLEAD_UNROLL
        for (int b = 0; b < B; ++b) {
            factor[b] = V::mul(scale, V::set1(weight[static_cast<std::size_t>(b) * weight_stride + i]));
        }
        FAIRLEAD_UNROLL
        for (int e = 0; e < 8; ++e) {
            const typename V::Vec value = V::load(tile.value[i][e]);
            FAIRLEAD_UNROLL
            for (int b = 0; b < B; ++b) sum[b][e] = V::fma(value, factor[b], sum[b][e]);
        }
    }
    FAIRLEAD_UNROLL
    for (int b = 0; b < B; ++b) {
        FAIRLEAD_UNROLL
        for (int e = 0; e < 8; ++e) V::store(sums + static_cast<std::size_t>(b) * kUnitFloats + e * kLanes, sum[b][e]);
    }
}

template <class V, int Bits, class L>
FAIRLEAD_INLINE void add_rows(const PackedView& matrix, const std::int32_t* rows, std::size_t first, std::size_t count,
                              const L& lanes, std::size_t c, const float* weight, std::size_t weight_stride,
                              std::size_t batch, float* sums) {
    UnpackedTile<V> tile;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* row = matrix.row(rows ? static_cast<std::size_t>(rows[first + i]) : first + i);
        typename V::Vec value[8];
        centred<V, Bits>(lanes, row, c, value);
        FAIRLEAD_UNROLL
        for (int e = 0; e < 8; ++e) V::store(tile.value[i][e], value[e]);
        V::store(tile.scale[i], lanes.scales(row + matrix.quant_bytes()));
    }
    std::size_t b = 0;
    for (; b + V::sum_batch <= batch; b += V::sum_batch) {
        add_tile<V, V::sum_batch>(tile, count, weight + b * weight_stride + first, weight_stride, sums + b * kUnitFloats);
    }
    for (; b < batch; ++b) {
        add_tile<V, 1>(tile, count, weight + b * weight_stride + first, weight_stride, sums + b * kUnitFloats);
    }
}

template <class V, int Bits>
FAIRLEAD_INLINE void sum_unit_batch(const PackedView& matrix, const std::int32_t* rows, const float* weight,
                                    std::size_t count, std::size_t batch, std::size_t unit, float* sums) {
    for (std::size_t first = 0; first < count; first += kUnpackedRows) {
        const std::size_t n = count - first < kUnpackedRows ? count - first : kUnpackedRows;
        for_each_unit<V>(matrix.lanes(), unit, unit + 1, sums, [&](auto lanes, std::size_t c, float* mine) {
            for (std::size_t j = 0; j < 2; ++j) {
                add_rows<V, Bits>(matrix, rows, first, n, lanes, c + j, weight, count, batch, mine + j * 8 * kLanes);
            }
        });
    }
}

// out[b, c] = sum_i weight[b, i] * matrix[rows ? rows[i] : i, c] for the columns of units [begin, end); weight is
// [batch, count], out [batch, columns], and scratch holds batch * kUnitFloats floats.
template <class V>
void sum_rows_packed_batch(const PackedView& matrix, const std::int32_t* rows, const float* weight,
                           std::size_t count, std::size_t batch, std::size_t begin, std::size_t end, float* out,
                           float* scratch) {
    for (std::size_t unit = begin; unit < end; ++unit) {
        for (std::size_t i = 0; i < batch * kUnitFloats; ++i) scratch[i] = 0.0F;
        if (matrix.bits == 4) {
            sum_unit_batch<V, 4>(matrix, rows, weight, count, batch, unit, scratch);
        } else {
            sum_unit_batch<V, 8>(matrix, rows, weight, count, batch, unit, scratch);
        }
        for (std::size_t b = 0; b < batch; ++b) {
            write_units(matrix.groups(), unit, unit + 1, scratch + b * kUnitFloats, out + b * matrix.columns);
        }
    }
}

}  // namespace fairlead::kernels

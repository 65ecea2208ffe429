#pragma once

#include "kernels/lanes.hpp"

namespace fairlead::kernels {

// Columns are dealt out in units of half a superblock: chunks 2h and 2h + 1 for h = 0, 1, where chunk c is the
// columns 8c..8c+7 of each lane. While rows are summed, a unit's kUnitFloats sums lie as [chunk][column][lane].

// Rows that are added together: their sums are loaded and stored once for all. The rows of the next tile are fetched
// meanwhile, each chunk beside the one that is being added.
inline constexpr std::size_t kRowTile = 24;

// value[e] = the centred weights of column 8c + e, one lane a group.
template <class V, int Bits, class L>
FAIRLEAD_INLINE void centred(const L& lanes, const std::uint8_t* row, std::size_t c, typename V::Vec (&value)[8]) {
    if constexpr (Bits == 4) {
        const typename V::Raw chunk = lanes.template stored<4>(row, c);
        unrolled<8>([&](auto k) {
            constexpr int e = k.value % 2 * 4 + k.value / 2;
            value[e] = V::template nibble<k.value>(chunk);
        });
    } else {
        const typename V::Raw first = lanes.template stored<8>(row, 2 * c);
        const typename V::Raw second = lanes.template stored<8>(row, 2 * c + 1);
        unrolled<4>([&](auto j) {
            value[j.value] = V::template byte<j.value>(first);
            value[4 + j.value] = V::template byte<j.value>(second);
        });
    }
}

// Adds weight[i] * row i for a tile of rows to the sums of C chunks from c.
template <class V, int Bits, int C, class L>
FAIRLEAD_INLINE void sum_chunks(const PackedView& matrix, const std::int32_t* rows, const float* weight,
                                std::size_t begin, std::size_t end, std::size_t count, const L& lanes, std::size_t c,
                                float* sums) {
    const std::size_t ahead = lanes.start * matrix.lane_bytes() + c * lanes.pitch() * Bits / 4;
    typename V::Vec sum[C][8];
    FAIRLEAD_UNROLL
    for (int i = 0; i < C; ++i) {
        FAIRLEAD_UNROLL
        for (int e = 0; e < 8; ++e) sum[i][e] = V::load(sums + (i * 8 + e) * kLanes);
    }
    for (std::size_t i = begin; i < end; ++i) {
        const std::uint8_t* row = matrix.row(rows ? static_cast<std::size_t>(rows[i]) : i);
        if (lanes.within == 0 && i + kRowTile < count) {
            const std::size_t next = rows ? static_cast<std::size_t>(rows[i + kRowTile]) : i + kRowTile;
            prefetch(matrix.row(next) + ahead, C * lanes.pitch() * Bits / 4);
            if (c == 0) prefetch(matrix.row_scale(next) + 2 * lanes.start, 1);
        }
        const typename V::Vec scale = V::mul(lanes.scales(row + matrix.quant_bytes()), V::set1(weight[i]));
        FAIRLEAD_UNROLL
        for (int j = 0; j < C; ++j) {
            typename V::Vec value[8];
            centred<V, Bits>(lanes, row, c + static_cast<std::size_t>(j), value);
            FAIRLEAD_UNROLL
            for (int e = 0; e < 8; ++e) sum[j][e] = V::fma(value[e], scale, sum[j][e]);
        }
    }
    FAIRLEAD_UNROLL
    for (int i = 0; i < C; ++i) {
        FAIRLEAD_UNROLL
        for (int e = 0; e < 8; ++e) V::store(sums + (i * 8 + e) * kLanes, sum[i][e]);
    }
}

// Calls f(lanes, first chunk, sums) for what units [begin, end) consist of.
template <class V, class F>
FAIRLEAD_INLINE void for_each_unit(std::size_t lanes, std::size_t begin, std::size_t end, float* sums, const F& f) {
    for (std::size_t unit = begin; unit < end; ++unit) {
        const std::size_t start = unit / 2 * kLanes;
        const std::size_t size = lanes - start < kLanes ? lanes - start : kLanes;
        float* mine = sums + (unit - begin) * kUnitFloats;
        for (std::size_t h = 0; h < size; h += V::width) {
            if (size == kLanes) {
                f(Lanes<V, kLanes>{start, h, size}, unit % 2 * 2, mine + h);
            } else {
                f(Lanes<V, kAnySize>{start, h, size}, unit % 2 * 2, mine + h);
            }
        }
    }
}

// y = the sums of units [begin, end), back in the order of columns; lanes without a group are left out.
FAIRLEAD_INLINE void write_units(std::size_t groups, std::size_t begin, std::size_t end, const float* sums, float* y) {
    for (std::size_t unit = begin; unit < end; ++unit) {
        const std::size_t start = unit / 2 * kLanes;
        const float* from = sums + (unit - begin) * kUnitFloats;
        for (std::size_t lane = 0; lane < kLanes && start + lane < groups; ++lane) {
            float* to = y + (start + lane) * kGroup + unit % 2 * 16;
            for (std::size_t e = 0; e < 16; ++e) to[e] = from[e * kLanes + lane];
        }
    }
}

// sums = what write_units has written to y, so that a list may be summed in pieces with the same bits.
FAIRLEAD_INLINE void read_units(std::size_t groups, std::size_t begin, std::size_t end, const float* y, float* sums) {
    for (std::size_t unit = begin; unit < end; ++unit) {
        const std::size_t start = unit / 2 * kLanes;
        float* to = sums + (unit - begin) * kUnitFloats;
        for (std::size_t lane = 0; lane < kLanes && start + lane < groups; ++lane) {
            const float* from = y + (start + lane) * kGroup + unit % 2 * 16;
            for (std::size_t e = 0; e < 16; ++e) to[e * kLanes + lane] = from[e];
        }
    }
}

template <class V, int Bits>
FAIRLEAD_INLINE void sum_tile_of(const PackedView& matrix, const std::int32_t* rows, const float* weight,
                                 std::size_t first, std::size_t last, std::size_t count, std::size_t begin,
                                 std::size_t end, float* sums) {
    for_each_unit<V>(matrix.lanes(), begin, end, sums, [&](auto lanes, std::size_t c, float* mine) {
        for (std::size_t j = 0; j < 2; j += V::sum_chunks) {
            sum_chunks<V, Bits, V::sum_chunks>(matrix, rows, weight, first, last, count, lanes, c + j,
                                               mine + j * 8 * kLanes);
        }
    });
}

// Later tiles are fetched while the one before is added.
FAIRLEAD_INLINE void fetch_first_tile(const PackedView& matrix, const std::int32_t* rows, std::size_t count,
                                      std::size_t begin, std::size_t end) {
    const std::size_t unit = kLanes / 2 * matrix.lane_bytes(), values = matrix.quant_bytes();
    const std::size_t from = begin * unit < values ? begin * unit : values;
    const std::size_t to = end * unit < values ? end * unit : matrix.row_bytes();
    for (std::size_t i = 0; i < count && i < kRowTile; ++i) {
        prefetch(matrix.row(rows ? static_cast<std::size_t>(rows[i]) : i) + from, to - from);
    }
}

// y[c] = sum_i weight[i] * matrix[rows ? rows[i] : i, c] for the columns of units [begin, end), in the list's order;
// with `add` the sum goes on from what is in y.
// scratch holds (end - begin) * kUnitFloats floats.
template <class V>
void sum_rows_packed(const PackedView& matrix, const std::int32_t* rows, const float* weight, std::size_t count,
                     std::size_t begin, std::size_t end, bool add, float* y, float* scratch) {
    fetch_first_tile(matrix, rows, count, begin, end);
    for (std::size_t i = 0; i < (end - begin) * kUnitFloats; ++i) scratch[i] = 0.0F;
    if (add) read_units(matrix.groups(), begin, end, y, scratch);
    for (std::size_t first = 0; first < count; first += kRowTile) {
        const std::size_t last = first + kRowTile < count ? first + kRowTile : count;
        if (matrix.bits == 4) {
            sum_tile_of<V, 4>(matrix, rows, weight, first, last, count, begin, end, scratch);
        } else {
            sum_tile_of<V, 8>(matrix, rows, weight, first, last, count, begin, end, scratch);
        }
    }
    write_units(matrix.groups(), begin, end, scratch, y);
}

}  // namespace fairlead::kernels

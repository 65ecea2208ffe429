#pragma once

#include <algorithm>

#include "kernels/lanes.hpp"

namespace fairlead::kernels {

// A row is fetched so many bytes before its turn, and so many rows where they are long. A row's product takes much less
// time than memory takes to answer: with 4 rows of 1,152 bytes an AMD EPYC core drew 18 GB/s of the 28 that it can.
inline constexpr std::size_t kBytesAhead = 16384;
inline constexpr std::size_t kDotRowsAhead = 12;

// The fewest lanes that a row can have.
inline constexpr std::size_t kFewLanes = 4;

// Adds R rows' products with these lanes of vector 0 of the input to their sums, and fetches the same lanes of `next`.
template <class V, int Bits, int R, class L>
FAIRLEAD_INLINE void dot_lanes(const L& lanes, const std::uint8_t* const* row, const std::uint8_t* const* next,
                               std::size_t values, const InputView& x, typename V::Vec* sum) {
    const typename V::Vec input_scale = lanes.floats(x.scale(0));
    const typename V::Int correction = lanes.template correction<Bits>(x, 0);
    Dots<V, Bits> dots[R];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        if (lanes.within == 0) prefetch(next[r] + lanes.start * (kGroup * Bits / 8), lanes.pitch() * Bits);
        dots[r] = V::template start<Bits>(correction);
    }
    FAIRLEAD_UNROLL
    for (std::size_t v = 0; v < 8; ++v) {
        const typename V::Raw input = V::in_register(lanes.input(x, 0, v));
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) {
            dots[r] = V::template step<Bits>(dots[r], lanes.template weights<Bits>(row[r], v), input);
        }
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        const typename V::Vec dot = V::to_float(V::template finish<Bits>(dots[r], correction));
        sum[r] = V::fma(dot, V::mul(lanes.scales(row[r] + values), input_scale), sum[r]);
    }
}

// R rows against vector 0 of the input. A row's sum walks its lanes in order, whatever R is. Meanwhile `next`,
// the rows that come after these, is fetched. Rows of one superblock advance together, since each of their few steps
// waits for the one before; long rows one after the other, so that memory is read in one stream: of four streams
// side by side an AMD EPYC core drew 21 GB/s where one gives 24.
template <class V, int Bits, std::size_t Only, int R>
FAIRLEAD_INLINE void dot_packed(const PackedView& matrix, const std::uint8_t* const (&row)[R],
                                const std::uint8_t* const (&next)[R], const InputView& x, float* out) {
    const std::size_t lanes_of_row = Only == kAnySize ? matrix.lanes() : Only;
    const std::size_t values = lanes_of_row * (kGroup * Bits / 8);
    constexpr int together = Only == kAnySize ? 1 : R;
    typename V::Vec sum[R];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) sum[r] = V::zero();
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; r += together) {
        for_each_lanes<V, Only>(lanes_of_row, [&](auto lanes) __attribute__((always_inline)) {
            dot_lanes<V, Bits, together>(lanes, row + r, next + r, values, x, sum + r);
        });
        FAIRLEAD_UNROLL
        for (int t = r; t < r + together; ++t) prefetch(next[t] + values, 2 * lanes_of_row);
    }
    if constexpr (R == 4 && requires { V::store_sums(sum, out); }) {
        V::store_sums(sum, out);
    } else {
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) out[r] = V::sum(sum[r]);
    }
}

template <class V, int Bits, std::size_t Only, int R>
FAIRLEAD_INLINE void dot_packed_at(const PackedView& matrix, const std::int32_t* rows, std::size_t first,
                                   std::size_t end, std::size_t ahead, const InputView& x, float* out) {
    const std::uint8_t* row[R];
    const std::uint8_t* next[R];
    const auto at = [&](std::size_t i) { return matrix.row(rows ? static_cast<std::size_t>(rows[i]) : i); };
    const std::size_t last = (rows ? end : matrix.rows) - 1;
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        const std::size_t i = first + static_cast<std::size_t>(r);
        row[r] = at(i);
        next[r] = at(i + ahead < last ? i + ahead : last);
    }
    dot_packed<V, Bits, Only, R>(matrix, row, next, x, out + first);
}

template <class V, int Bits, std::size_t Only>
FAIRLEAD_INLINE void dot_rows_with(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                   std::size_t end, const InputView& x, float* out) {
    const std::size_t far = kBytesAhead / matrix.row_bytes() / 4 * 4;
    const std::size_t ahead = far > kDotRowsAhead ? far : kDotRowsAhead;
    std::size_t i = begin;
    for (; i + 4 <= end; i += 4) dot_packed_at<V, Bits, Only, 4>(matrix, rows, i, end, ahead, x, out);
    for (; i < end; ++i) dot_packed_at<V, Bits, Only, 1>(matrix, rows, i, end, ahead, x, out);
}

// Four rows of four lanes (a predictor's), side by side in one vector; bit for bit as one by one.
template <class V, int Bits>
FAIRLEAD_INLINE void dot_four_narrow(const std::uint8_t* const (&row)[4], const InputView& x, float* out) {
    constexpr std::size_t values = kFewLanes * kGroup * Bits / 8;
    const typename V::Int correction = V::to_int(V::spread(x.correction(0, Bits)));
    Dots<V, Bits> dots = V::template start<Bits>(correction);
    FAIRLEAD_UNROLL
    for (std::size_t v = 0; v < 8; ++v) {
        const std::size_t at = 4 * kFewLanes * (Bits == 4 ? v / 2 : v);
        typename V::Raw weights = V::side_by_side(row[0] + at, row[1] + at, row[2] + at, row[3] + at);
        if constexpr (Bits == 4) weights = v % 2 == 0 ? V::lower_halves(weights) : V::upper_halves(weights);
        dots = V::template step<Bits>(dots, weights, V::spread(x.q(0) + 4 * kFewLanes * v));
    }
    const typename V::Vec dot = V::to_float(V::template finish<Bits>(dots, correction));
    const typename V::Vec scales =
        V::halves_side_by_side(row[0] + values, row[1] + values, row[2] + values, row[3] + values);
    V::store_narrow_sums(V::fma(dot, V::mul(scales, V::as_floats(V::spread(x.scale(0)))), V::zero()), out);
}

template <class V, int Bits>
FAIRLEAD_INLINE void dot_narrow_rows(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                     std::size_t end, const InputView& x, float* out) {
    const std::size_t ahead = kBytesAhead / matrix.row_bytes() / 4 * 4, last = (rows ? end : matrix.rows) - 1;
    const auto at = [&](std::size_t i) { return matrix.row(rows ? static_cast<std::size_t>(rows[i]) : i); };
    std::size_t i = begin;
    for (; i + 4 <= end; i += 4) {
        const std::uint8_t* const row[4] = {at(i), at(i + 1), at(i + 2), at(i + 3)};
        FAIRLEAD_UNROLL
        for (std::size_t r = 0; r < 4; ++r) prefetch(at(std::min(i + r + ahead, last)), matrix.row_bytes());
        dot_four_narrow<V, Bits>(row, x, out + i);
    }
    for (; i < end; ++i) dot_packed_at<V, Bits, kFewLanes, 1>(matrix, rows, i, end, 0, x, out);
}

// Rows of a small model are one superblock, whose addresses and masks are constants.
template <class V, int Bits>
FAIRLEAD_INLINE void dot_rows_of(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                 std::size_t end, const InputView& x, float* out) {
    switch (matrix.lanes()) {
        case kFewLanes:
            if constexpr (requires { V::spread(nullptr); }) {
                return dot_narrow_rows<V, Bits>(matrix, rows, begin, end, x, out);
            }
            return dot_rows_with<V, Bits, kFewLanes>(matrix, rows, begin, end, x, out);
        case 8: return dot_rows_with<V, Bits, 8>(matrix, rows, begin, end, x, out);
        case 12: return dot_rows_with<V, Bits, 12>(matrix, rows, begin, end, x, out);
        case kLanes: return dot_rows_with<V, Bits, kLanes>(matrix, rows, begin, end, x, out);
        default: return dot_rows_with<V, Bits, kAnySize>(matrix, rows, begin, end, x, out);
    }
}

template <class V>
void dot_rows_packed(const PackedView& matrix, const std::int32_t* rows, std::size_t begin, std::size_t end,
                     const InputView& x, float* out) {
    if (matrix.bits == 4) {
        dot_rows_of<V, 4>(matrix, rows, begin, end, x, out);
    } else {
        dot_rows_of<V, 8>(matrix, rows, begin, end, x, out);
    }
}

}  // namespace fairlead::kernels

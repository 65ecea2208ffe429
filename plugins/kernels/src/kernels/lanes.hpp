#pragma once

#include "fairlead/quantized_input.hpp"

namespace fairlead::kernels {

template <int K>
struct Index {
    static constexpr int value = K;
};

// f(Index<0>), ..., f(Index<N - 1>): for what needs its index as a constant.
template <int N, class F>
FAIRLEAD_INLINE void unrolled(const F& f) {
    if constexpr (N > 0) {
        unrolled<N - 1>(f);
        f(Index<N - 1>{});
    }
}

// Lanes of one superblock that stand in one vector: V::width of them, or fewer where the superblock is not full.
template <class V, bool Full>
struct Lanes {
    std::size_t start;   // the superblock's first lane
    std::size_t within;  // the first of these lanes in the superblock
    std::size_t size;    // lanes of the superblock

    FAIRLEAD_INLINE std::size_t first() const { return start + within; }
    FAIRLEAD_INLINE std::size_t count() const {
        if constexpr (Full) return V::width;
        const std::size_t left = size - within;
        return left < static_cast<std::size_t>(V::width) ? left : V::width;
    }
    // Bytes from a vector of the superblock to the next.
    FAIRLEAD_INLINE std::size_t pitch() const { return Full ? 4 * kLanes : 4 * size; }
    FAIRLEAD_INLINE typename V::Raw raw(const void* p) const {
        if constexpr (Full) return V::raw(p);
        return V::raw_n(p, count());
    }
    FAIRLEAD_INLINE typename V::Vec floats(const float* p) const {
        if constexpr (Full) return V::load(p + first());
        return count() == static_cast<std::size_t>(V::width) ? V::load(p + first()) : V::load_n(p + first(), count());
    }
    FAIRLEAD_INLINE typename V::Vec scales(const std::uint8_t* row_scale) const {
        return V::half_bytes(row_scale + 2 * first(), count());
    }
    // The stored bytes of chunk c (4 bits: vectors 2c and 2c + 1; 8 bits: vector c).
    template <int Bits>
    FAIRLEAD_INLINE typename V::Raw stored(const std::uint8_t* row, std::size_t c) const {
        return raw(row + start * (kGroup * Bits / 8) + c * pitch() + 4 * within);
    }
    // The unsigned weights of all eight vectors.
    template <int Bits>
    FAIRLEAD_INLINE void weights(const std::uint8_t* row, typename V::Raw (&w)[8]) const {
        FAIRLEAD_UNROLL
        for (int v = 0; v < 8; v += 8 / Bits) {
            if constexpr (Bits == 4) {
                const typename V::Raw chunk = stored<4>(row, static_cast<std::size_t>(v / 2));
                w[v] = V::lower_halves(chunk);
                w[v + 1] = V::upper_halves(chunk);
            } else {
                w[v] = stored<8>(row, static_cast<std::size_t>(v));
            }
        }
    }
    // Dot products of the groups with vector b of the input, exact.
    template <int Bits>
    FAIRLEAD_INLINE typename V::Int dots(const typename V::Raw (&w)[8], const InputView& x, std::size_t b) const {
        const std::uint8_t* q = x.q(b) + start * kGroup + 4 * within;
        const auto input = [&](int v) { return raw(q + static_cast<std::size_t>(v) * pitch()); };
        return V::template dots<Bits>(w, input, V::to_int(raw(x.correction(b, Bits) + first())));
    }
};

// Calls f(lanes) over all lanes of a row, in order.
template <class V, class F>
FAIRLEAD_INLINE void for_each_lanes(std::size_t lanes, const F& f) {
    std::size_t start = 0;
    for (; start + kLanes <= lanes; start += kLanes) {
        FAIRLEAD_UNROLL
        for (std::size_t h = 0; h < kLanes; h += V::width) f(Lanes<V, true>{start, h, kLanes});
    }
    for (std::size_t h = 0; h < lanes - start; h += V::width) f(Lanes<V, false>{start, h, lanes - start});
}

// How many rows before its turn a row is fetched.
inline constexpr std::size_t kRowsAhead = 4;

// Into the second-level cache: more lines can be on their way there than to the first.
FAIRLEAD_INLINE void prefetch(const std::uint8_t* p, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

}  // namespace fairlead::kernels

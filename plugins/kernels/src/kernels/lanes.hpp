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

// A superblock whose lanes are counted at run time.
inline constexpr std::size_t kAnySize = 0;

// Lanes of one superblock that stand in one vector: V::width of them, or fewer where the superblock is not full.
// `Size` is how many lanes it has, where that is known beforehand: addresses and masks are constants then.
template <class V, std::size_t Size>
struct Lanes {
    std::size_t start;   // the superblock's first lane
    std::size_t within;  // the first of these lanes in the superblock
    std::size_t size;    // lanes of the superblock

    FAIRLEAD_INLINE std::size_t first() const { return start + within; }
    FAIRLEAD_INLINE std::size_t count() const {
        if constexpr (Size == kLanes) return V::width;
        const std::size_t left = (Size == kAnySize ? size : Size) - within;
        return left < static_cast<std::size_t>(V::width) ? left : V::width;
    }
    // Bytes from a vector of the superblock to the next.
    FAIRLEAD_INLINE std::size_t pitch() const { return 4 * (Size == kAnySize ? size : Size); }
    FAIRLEAD_INLINE typename V::Raw raw(const void* p) const {
        if constexpr (Size == kLanes) return V::raw(p);
        if (Size != kAnySize && count() == static_cast<std::size_t>(V::width)) return V::raw(p);
        return V::raw_n(p, count());
    }
    FAIRLEAD_INLINE typename V::Vec floats(const float* p) const {
        if constexpr (Size == kLanes) return V::load(p + first());
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
    // The unsigned weights of vector v; v must be a constant after unrolling.
    template <int Bits>
    FAIRLEAD_INLINE typename V::Raw weights(const std::uint8_t* row, std::size_t v) const {
        if constexpr (Bits == 8) return stored<8>(row, v);
        const typename V::Raw chunk = stored<4>(row, v / 2);
        return v % 2 == 0 ? V::lower_halves(chunk) : V::upper_halves(chunk);
    }
    // Vector v of the b-th input.
    FAIRLEAD_INLINE typename V::Raw input(const InputView& x, std::size_t b, std::size_t v) const {
        return raw(x.q(b) + start * kGroup + v * pitch() + 4 * within);
    }
    template <int Bits>
    FAIRLEAD_INLINE typename V::Int correction(const InputView& x, std::size_t b) const {
        return V::to_int(raw(x.correction(b, Bits) + first()));
    }
};

// An integer dot product of one row and one vector, lane by lane. Several are advanced in turn, because each of
// their steps waits for the one before.
template <class V, int Bits>
using Dots = decltype(V::template start<Bits>(typename V::Int{}));

// Calls f(lanes) over all lanes of a row, in order. `Only` is how many there are where one superblock holds them all.
template <class V, std::size_t Only = kAnySize, class F>
FAIRLEAD_INLINE void for_each_lanes(std::size_t lanes, const F& f) {
    if constexpr (Only != kAnySize) {
        FAIRLEAD_UNROLL
        for (std::size_t h = 0; h < Only; h += V::width) f(Lanes<V, Only>{0, h, Only});
        return;
    }
    std::size_t start = 0;
    for (; start + kLanes <= lanes; start += kLanes) {
        FAIRLEAD_UNROLL
        for (std::size_t h = 0; h < kLanes; h += V::width) f(Lanes<V, kLanes>{start, h, kLanes});
    }
    for (std::size_t h = 0; h < lanes - start; h += V::width) f(Lanes<V, kAnySize>{start, h, lanes - start});
}

// How many rows before its turn a row is fetched.
inline constexpr std::size_t kRowsAhead = 4;

// Into the second-level cache: more lines can be on their way there than to the first.
FAIRLEAD_INLINE void prefetch(const std::uint8_t* p, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

}  // namespace fairlead::kernels

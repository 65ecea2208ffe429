#pragma once

#include "fairlead/half.hpp"
#include "fairlead/vectors/space.hpp"
#include "simd/words.hpp"

namespace fairlead::vectors::kernels {

// Elements that are read as floats.
template <class V, Element E>
struct Floats;

template <class V>
struct Floats<V, Element::float32> {
    using Stored = float;
    static FAIRLEAD_INLINE typename V::Vec load(const float* p) { return V::load(p); }
    static FAIRLEAD_INLINE typename V::Vec load_n(const float* p, std::size_t n) { return V::load_n(p, n); }
};

template <class V>
struct Floats<V, Element::float16> {
    using Stored = std::uint16_t;
    static FAIRLEAD_INLINE typename V::Vec load(const std::uint16_t* p) { return V::from_half(p, V::width); }
    static FAIRLEAD_INLINE typename V::Vec load_n(const std::uint16_t* p, std::size_t n) { return V::from_half(p, n); }
};

template <class V>
struct Floats<V, Element::bfloat16> {
    using Stored = std::uint16_t;
    static FAIRLEAD_INLINE typename V::Vec load(const std::uint16_t* p) { return simd::Words<V>::from_bfloat(p); }
    static FAIRLEAD_INLINE typename V::Vec load_n(const std::uint16_t* p, std::size_t n) {
        std::uint16_t part[V::width] = {};
        __builtin_memcpy(part, p, n * sizeof *p);
        return load(part);
    }
};

// Two running sums: the metric's, and for cosine the vector's own squares.
template <class V, Metric M>
struct FloatSums {
    typename V::Vec sum = V::zero(), square = V::zero();

    FAIRLEAD_INLINE void take(typename V::Vec q, typename V::Vec x) {
        if constexpr (M == Metric::l2) {
            const typename V::Vec d = V::sub(q, x);
            sum = V::fma(d, d, sum);
        } else {
            sum = V::fma(q, x, sum);
            if constexpr (M == Metric::cosine) square = V::fma(x, x, square);
        }
    }
};

template <Metric M>
FAIRLEAD_INLINE float finish(float sum, float square, float inverse_norm) {
    if constexpr (M == Metric::l2) return sum;
    if constexpr (M == Metric::dot) return -sum;
    return square > 0 ? 1.0F - sum * inverse_norm / __builtin_sqrtf(square) : 1.0F;
}

template <class V, Element E, Metric M>
FAIRLEAD_INLINE float float_distance(const SpaceQueryView& query, const void* vector) {
    using F = Floats<V, E>;
    const float* q = static_cast<const float*>(query.data);
    const auto* x = static_cast<const typename F::Stored*>(vector);
    constexpr std::size_t w = V::width;
    FloatSums<V, M> a, b;
    std::size_t i = 0;
    for (; i + 2 * w <= query.dim; i += 2 * w) {
        a.take(V::load(q + i), F::load(x + i));
        b.take(V::load(q + i + w), F::load(x + i + w));
    }
    if (i + w <= query.dim) {
        a.take(V::load(q + i), F::load(x + i));
        i += w;
    }
    if (i < query.dim) b.take(V::load_n(q + i, query.dim - i), F::load_n(x + i, query.dim - i));
    const float square = M == Metric::cosine ? V::sum(V::add(a.square, b.square)) : 0.0F;
    return finish<M>(V::sum(V::add(a.sum, b.sum)), square, query.inverse_norm);
}

// Bytes are exact whole numbers until the end.
template <class V, bool IsSigned, Metric M>
FAIRLEAD_INLINE float byte_distance(const SpaceQueryView& query, const void* vector) {
    using W = simd::Words<V>;
    using Shorts = typename W::Shorts;
    const auto* q = static_cast<const std::int16_t*>(query.data);
    const auto* x = static_cast<const std::uint8_t*>(vector);
    constexpr std::size_t w = 2 * V::width;
    typename W::Ints sum[2] = {}, square[2] = {};
    const auto take = [&](int k, Shorts a, Shorts b) __attribute__((always_inline)) {
        if constexpr (M == Metric::l2) {
            const Shorts d = a - b;
            sum[k] = W::add_products(sum[k], d, d);
        } else {
            sum[k] = W::add_products(sum[k], a, b);
            if constexpr (M == Metric::cosine) square[k] = W::add_products(square[k], b, b);
        }
    };
    std::size_t i = 0;
    for (; i + 2 * w <= query.dim; i += 2 * w) {
        take(0, W::shorts(q + i), W::template widen<IsSigned>(x + i));
        take(1, W::shorts(q + i + w), W::template widen<IsSigned>(x + i + w));
    }
    if (i + w <= query.dim) {
        take(0, W::shorts(q + i), W::template widen<IsSigned>(x + i));
        i += w;
    }
    if (i < query.dim) take(1, W::shorts(q + i), W::template widen_n<IsSigned>(x + i, query.dim - i));
    const float squares = M == Metric::cosine ? static_cast<float>(W::total(square[0] + square[1])) : 0.0F;
    return finish<M>(static_cast<float>(W::total(sum[0] + sum[1])), squares, query.inverse_norm);
}

FAIRLEAD_INLINE float bit_distance(const SpaceQueryView& query, const void* vector) {
    const auto* q = static_cast<const std::uint8_t*>(query.data);
    const auto* x = static_cast<const std::uint8_t*>(vector);
    const std::size_t bytes = (query.dim + 7) / 8;
    std::uint32_t differing = 0;
    std::size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        std::uint64_t a, b;
        __builtin_memcpy(&a, q + i, 8);
        __builtin_memcpy(&b, x + i, 8);
        differing += static_cast<std::uint32_t>(__builtin_popcountll(a ^ b));
    }
    for (; i < bytes; ++i) differing += static_cast<std::uint32_t>(__builtin_popcount(q[i] ^ x[i]));
    return static_cast<float>(differing);
}

// Calls one(vector) for each row and reads ahead far enough that some kilobytes are on their way.
template <class One>
FAIRLEAD_INLINE void for_rows(const std::byte* base, std::size_t stride, std::size_t bytes, const std::uint32_t* ids,
                              std::size_t n, float* out, const One& one) {
    if (ids == nullptr) {
        for (std::size_t i = 0; i < n; ++i) out[i] = one(base + i * stride);
        return;
    }
    const std::size_t ahead = bytes >= 2048 ? 1 : 1 + 2048 / (bytes + 64);
    const auto fetch = [&](std::size_t i) __attribute__((always_inline)) {
        const std::byte* p = base + ids[i] * stride;
        for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at);
    };
    for (std::size_t i = 0; i < ahead && i < n; ++i) fetch(i);
    for (std::size_t i = 0; i < n; ++i) {
        if (i + ahead < n) fetch(i + ahead);
        out[i] = one(base + ids[i] * stride);
    }
}

template <class V, Element E, Metric M>
void distances_of(const SpaceQueryView& q, const std::byte* base, std::size_t stride, const std::uint32_t* ids,
                  std::size_t n, float* out) {
    const std::size_t size = E == Element::float32 ? 4 : E == Element::float16 || E == Element::bfloat16 ? 2 : 1;
    for_rows(base, stride, q.dim * size, ids, n, out, [&](const std::byte* x) __attribute__((always_inline)) {
        if constexpr (E == Element::int8) return byte_distance<V, true, M>(q, x);
        else if constexpr (E == Element::uint8) return byte_distance<V, false, M>(q, x);
        else return float_distance<V, E, M>(q, x);
    });
}

template <class V, Element E>
void distances_in(const SpaceQueryView& q, const std::byte* base, std::size_t stride, const std::uint32_t* ids,
                  std::size_t n, float* out) {
    switch (q.metric) {
        case Metric::l2: return distances_of<V, E, Metric::l2>(q, base, stride, ids, n, out);
        case Metric::dot: return distances_of<V, E, Metric::dot>(q, base, stride, ids, n, out);
        case Metric::cosine: return distances_of<V, E, Metric::cosine>(q, base, stride, ids, n, out);
    }
}

template <class V>
void distances(const SpaceQueryView& q, const std::byte* base, std::size_t stride, const std::uint32_t* ids,
               std::size_t n, float* out) {
    switch (q.element) {
        case Element::float32: return distances_in<V, Element::float32>(q, base, stride, ids, n, out);
        case Element::float16: return distances_in<V, Element::float16>(q, base, stride, ids, n, out);
        case Element::bfloat16: return distances_in<V, Element::bfloat16>(q, base, stride, ids, n, out);
        case Element::int8: return distances_in<V, Element::int8>(q, base, stride, ids, n, out);
        case Element::uint8: return distances_in<V, Element::uint8>(q, base, stride, ids, n, out);
        case Element::bit:
            for_rows(base, stride, (q.dim + 7) / 8, ids, n, out,
                     [&](const std::byte* x) __attribute__((always_inline)) { return bit_distance(q, x); });
    }
}

}  // namespace fairlead::vectors::kernels

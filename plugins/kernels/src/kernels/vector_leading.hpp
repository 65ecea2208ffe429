#pragma once

#include "fairlead/vectors/codes.hpp"
#include "simd/words.hpp"

namespace fairlead::vectors::kernels {

// Distances so far ahead are on their way when a row is used.
inline constexpr std::size_t kRowsAhead = 8;

template <class V>
FAIRLEAD_INLINE typename simd::Words<V>::Ints dot_lines(const std::uint8_t* row, const std::int8_t* query,
                                                        const std::int32_t* correction, std::uint32_t lines) {
    using W = simd::Words<V>;
    constexpr std::size_t step = 4 * V::width;
    // A narrower register's lanes hold what several of the 16 lanes of a line are corrected by.
    auto sum = V::template start<8>(V::to_int(V::raw(correction)));
    if constexpr (step < kLine) {
        typename W::Ints rest = (typename W::Ints)sum;
        for (std::size_t k = 1; k < kLine / step; ++k) {
            rest += (typename W::Ints)V::template start<8>(V::to_int(V::raw(correction + k * V::width)));
        }
        sum = (decltype(sum))rest;
    }
    for (std::uint32_t line = 0; line < lines; ++line) {
        FAIRLEAD_UNROLL
        for (std::size_t at = 0; at < kLine; at += step) {
            sum = V::template step<8>(sum, V::raw(row + line * kLine + at), V::raw(query + line * kLine + at));
        }
    }
    return (typename W::Ints)V::template finish<8>(sum, V::to_int(V::raw(correction)));
}

FAIRLEAD_INLINE float row_float(const std::uint8_t* row) {
    float value;
    __builtin_memcpy(&value, row, sizeof value);
    return value;
}

// out[k] = the sum of v[k]'s lanes.
template <class V>
FAIRLEAD_INLINE void four_totals(const typename simd::Words<V>::Ints (&v)[4], std::int32_t* out) {
    using W = simd::Words<V>;
#if defined(__AVX512F__)
    if constexpr (V::width == 16) {
        const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32((__m512i)v[0], (__m512i)v[1]),
                                            _mm512_unpackhi_epi32((__m512i)v[0], (__m512i)v[1]));
        const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32((__m512i)v[2], (__m512i)v[3]),
                                            _mm512_unpackhi_epi32((__m512i)v[2], (__m512i)v[3]));
        const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
        const __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sums);
        return;
    }
#endif
    for (int k = 0; k < 4; ++k) out[k] = W::total(v[k]);
}

template <class V, bool Fine>
FAIRLEAD_INLINE void leading_rows(const LeadingQueryView& q, const std::uint8_t* const (&row)[4], std::size_t count,
                                  std::uint32_t lines, float* out) {
    using Ints = typename simd::Words<V>::Ints;
    alignas(16) std::int32_t coarse[4], fine[4];
    Ints sums[4];
    FAIRLEAD_UNROLL
    for (int k = 0; k < 4; ++k) sums[k] = dot_lines<V>(row[k], q.coarse, q.correction, lines);
    four_totals<V>(sums, coarse);
    if constexpr (Fine) {
        FAIRLEAD_UNROLL
        for (int k = 0; k < 4; ++k) sums[k] = dot_lines<V>(row[k], q.fine, q.fine_correction, lines);
        four_totals<V>(sums, fine);
    }
    for (std::size_t k = 0; k < count; ++k) {
        float dot = static_cast<float>(coarse[k]);
        if constexpr (Fine) dot += static_cast<float>(fine[k]) * 0x1p-7F;
        out[k] = q.add + row_float(row[k]) - q.scale * dot;
    }
}

template <class V, bool Fine, std::uint32_t Lines>
FAIRLEAD_INLINE void leading_all(const LeadingQueryView& q, const LeadingView& codes, const std::uint32_t* ids,
                                 std::size_t n, float* out) {
    const std::uint32_t lines = Lines > 0 ? Lines : q.lines;
    const auto at = [&](std::size_t i) __attribute__((always_inline)) {
        return codes.rows + (ids == nullptr ? i : ids[i]) * codes.stride;
    };
    const auto fetch = [&](std::size_t i) __attribute__((always_inline)) {
        const std::uint8_t* p = at(i);
        for (std::uint32_t line = 0; line < lines; ++line) __builtin_prefetch(p + line * kLine);
    };
    for (std::size_t i = 0; i < kRowsAhead && i < n; ++i) fetch(i);
    for (std::size_t i = 0; i < n; i += 4) {
        for (std::size_t k = i + kRowsAhead; k < i + kRowsAhead + 4 && k < n; ++k) fetch(k);
        const std::size_t last = n - 1;
        const std::uint8_t* const rows[4] = {at(i), at(i + 1 < n ? i + 1 : last), at(i + 2 < n ? i + 2 : last),
                                             at(i + 3 < n ? i + 3 : last)};
        leading_rows<V, Fine>(q, rows, n - i < 4 ? n - i : 4, lines, out + i);
    }
}

template <class V, bool Fine>
void leading(const LeadingQueryView& q, const LeadingView& codes, const std::uint32_t* ids, std::size_t n, float* out) {
    switch (q.lines) {
        case 1: return leading_all<V, Fine, 1>(q, codes, ids, n, out);
        case 2: return leading_all<V, Fine, 2>(q, codes, ids, n, out);
        case 3: return leading_all<V, Fine, 3>(q, codes, ids, n, out);
        default: return leading_all<V, Fine, 0>(q, codes, ids, n, out);
    }
}

}  // namespace fairlead::vectors::kernels

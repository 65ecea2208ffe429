#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

namespace fairlead::kernels {

inline constexpr std::size_t kCodeLine = 64;

#if defined(__AVX512VNNI__)

// lane i of the result = the sum of v[i]
FAIRLEAD_INLINE __m512i sums_of_16(__m512i (&v)[16]) {
    FAIRLEAD_UNROLL
    for (int i = 0; i < 8; ++i) {
        v[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    FAIRLEAD_UNROLL
    for (int i = 0; i < 4; ++i) {
        v[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
    }
    FAIRLEAD_UNROLL
    for (int i = 0; i < 2; ++i) {
        v[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88),
                                _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xDD));
    }
    return _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x88), _mm512_shuffle_i32x4(v[0], v[1], 0xDD));
}

// The last lane of a code starts the sum with the half norm that lies there; the query is zero at that place.
template <int Lines>
FAIRLEAD_INLINE __m512i score_line_vnni(const std::uint8_t* code, std::size_t lines, const std::int8_t* query) {
    const std::size_t n = Lines > 0 ? static_cast<std::size_t>(Lines) : lines;
    __m512i sum = _mm512_maskz_loadu_epi32(0x8000, code + (n - 1) * kCodeLine);
    for (std::size_t at = 0; at < n * kCodeLine; at += kCodeLine) {
        const __m512i bytes = _mm512_loadu_si512(code + at);
        sum = _mm512_dpbusd_epi32(sum, bytes, _mm512_loadu_si512(query + at));
    }
    return sum;
}

// Two coordinates a byte, two registers of the query a line.
template <int Lines>
FAIRLEAD_INLINE __m512i score_nibbles_vnni(const std::uint8_t* code, std::size_t lines, const std::int8_t* query) {
    const std::size_t n = Lines > 0 ? static_cast<std::size_t>(Lines) : lines;
    const __m512i low = _mm512_set1_epi8(15);
    __m512i sum = _mm512_maskz_loadu_epi32(0x8000, code + (n - 1) * kCodeLine);
    for (std::size_t at = 0; at < n * kCodeLine; at += kCodeLine) {
        const __m512i bytes = _mm512_loadu_si512(code + at);
        sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(bytes, low), _mm512_loadu_si512(query + 2 * at));
        sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low),
                                  _mm512_loadu_si512(query + 2 * at + kCodeLine));
    }
    return sum;
}

template <int Lines, bool Nibbles>
std::uint64_t score_lines_vnni(const std::uint8_t* codes, std::size_t lines, const std::uint32_t* ids,
                               std::size_t count, const std::int8_t* query, std::int32_t below, std::int32_t* out) {
    const std::size_t stride = lines * kCodeLine;
    std::uint64_t found = 0;
    for (std::size_t begin = 0; begin < count; begin += 16) {
        const std::size_t some = count - begin < 16 ? count - begin : 16;
        __m512i v[16];
        FAIRLEAD_UNROLL
        for (std::size_t i = 0; i < 16; ++i) {
            const std::size_t at = begin + (i < some ? i : some - 1);
            const std::uint8_t* code = codes + (ids != nullptr ? ids[at] : at) * stride;
            v[i] = Nibbles ? score_nibbles_vnni<Lines>(code, lines, query) : score_line_vnni<Lines>(code, lines, query);
        }
        const __m512i scores = sums_of_16(v);
        const auto lanes = static_cast<__mmask16>((1U << some) - 1U);
        _mm512_mask_storeu_epi32(out + begin, lanes, scores);
        const __mmask16 near = _mm512_mask_cmplt_epi32_mask(lanes, scores, _mm512_set1_epi32(below));
        found |= static_cast<std::uint64_t>(near) << begin;
    }
    return found;
}

template <bool Nibbles>
std::uint64_t score_vnni(const std::uint8_t* codes, std::size_t lines, const std::uint32_t* ids, std::size_t count,
                         const std::int8_t* query, std::int32_t below, std::int32_t* out) {
    if (lines == 1) return score_lines_vnni<1, Nibbles>(codes, 1, ids, count, query, below, out);
    if (lines == 2) return score_lines_vnni<2, Nibbles>(codes, 2, ids, count, query, below, out);
    if (lines == 3) return score_lines_vnni<3, Nibbles>(codes, 3, ids, count, query, below, out);
    return score_lines_vnni<0, Nibbles>(codes, lines, ids, count, query, below, out);
}

#endif

template <class V>
std::uint64_t score_lines(const std::uint8_t* codes, std::size_t lines, const std::uint32_t* ids, std::size_t count,
                          const std::int8_t* query, std::int32_t below, std::int32_t* out) {
#if defined(__AVX512VNNI__)
    return score_vnni<false>(codes, lines, ids, count, query, below, out);
#else
    const std::size_t stride = lines * kCodeLine, bytes = stride - sizeof(std::int32_t);
    std::uint64_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* code = codes + (ids != nullptr ? ids[i] : i) * stride;
        std::int32_t sum;
        __builtin_memcpy(&sum, code + bytes, sizeof sum);
        for (std::size_t d = 0; d < bytes; ++d) sum += code[d] * query[d];
        out[i] = sum;
        if (sum < below) found |= std::uint64_t{1} << i;
    }
    return found;
#endif
}

template <class V>
std::uint64_t score_nibbles(const std::uint8_t* codes, std::size_t lines, const std::uint32_t* ids, std::size_t count,
                            const std::int8_t* query, std::int32_t below, std::int32_t* out) {
#if defined(__AVX512VNNI__)
    return score_vnni<true>(codes, lines, ids, count, query, below, out);
#else
    const std::size_t stride = lines * kCodeLine;
    std::uint64_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* code = codes + (ids != nullptr ? ids[i] : i) * stride;
        std::int32_t sum;
        __builtin_memcpy(&sum, code + stride - sizeof sum, sizeof sum);
        for (std::size_t at = 0; at < stride; at += kCodeLine) {
            const std::int8_t *low = query + 2 * at, *high = low + kCodeLine;
            for (std::size_t d = 0; d < kCodeLine; ++d) {
                sum += (code[at + d] & 15) * low[d] + (code[at + d] >> 4) * high[d];
            }
        }
        out[i] = sum;
        if (sum < below) found |= std::uint64_t{1} << i;
    }
    return found;
#endif
}

}  // namespace fairlead::kernels

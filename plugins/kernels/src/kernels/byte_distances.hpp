#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

namespace fairlead::kernels {

// Squared Euclidean distances of bytes: exact below 2^15 columns.
template <class V>
void byte_distances(const std::uint8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t columns,
                    const std::uint32_t* ids, std::size_t count, float* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* row = rows + static_cast<std::size_t>(ids[i]) * stride;
#if defined(__AVX512VNNI__)
        // d^2 = d (d - 128) + 128 d, since one factor of VNNI's products is signed.
        const __m512i half = _mm512_set1_epi8(static_cast<char>(0x80)), one = _mm512_set1_epi8(1);
        __m512i products = _mm512_setzero_si512(), sums = _mm512_setzero_si512();
        for (std::size_t c = 0; c < columns; c += 64) {
            const __mmask64 lanes = columns - c >= 64 ? ~__mmask64{0} : (__mmask64{1} << (columns - c)) - 1;
            const __m512i a = _mm512_maskz_loadu_epi8(lanes, row + c), b = _mm512_maskz_loadu_epi8(lanes, query + c);
            const __m512i d = _mm512_or_si512(_mm512_subs_epu8(a, b), _mm512_subs_epu8(b, a));
            products = _mm512_dpbusd_epi32(products, d, _mm512_xor_si512(d, half));
            sums = _mm512_dpbusd_epi32(sums, d, one);
        }
        out[i] = static_cast<float>(
            _mm512_reduce_add_epi32(_mm512_add_epi32(products, _mm512_slli_epi32(sums, 7))));
#else
        std::int32_t sum = 0;
        for (std::size_t c = 0; c < columns; ++c) {
            const auto d = static_cast<std::int16_t>(static_cast<std::int16_t>(row[c]) - query[c]);
            sum += static_cast<std::int32_t>(d) * d;
        }
        out[i] = static_cast<float>(sum);
#endif
    }
}

// The same of coordinates that lie two to a byte.
template <class V>
void nibble_distances(const std::uint8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t bytes,
                      const std::uint32_t* ids, std::size_t count, float* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* row = rows + static_cast<std::size_t>(ids[i]) * stride;
#if defined(__AVX512VNNI__)
        const __m512i low = _mm512_set1_epi8(15);
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t c = 0; c < bytes; c += 64) {
            const __mmask64 lanes = bytes - c >= 64 ? ~__mmask64{0} : (__mmask64{1} << (bytes - c)) - 1;
            const __m512i a = _mm512_maskz_loadu_epi8(lanes, row + c), b = _mm512_maskz_loadu_epi8(lanes, query + c);
            const __m512i d = _mm512_abs_epi8(_mm512_sub_epi8(_mm512_and_si512(a, low), _mm512_and_si512(b, low)));
            const __m512i e = _mm512_abs_epi8(_mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16(a, 4), low),
                                                              _mm512_and_si512(_mm512_srli_epi16(b, 4), low)));
            sum = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, d, d), e, e);
        }
        out[i] = static_cast<float>(_mm512_reduce_add_epi32(sum));
#else
        std::int32_t sum = 0;
        for (std::size_t c = 0; c < bytes; ++c) {
            const std::int32_t d = (row[c] & 15) - (query[c] & 15), e = (row[c] >> 4) - (query[c] >> 4);
            sum += d * d + e * e;
        }
        out[i] = static_cast<float>(sum);
#endif
    }
}

}  // namespace fairlead::kernels

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

}  // namespace fairlead::kernels

#pragma once

#include <cstring>

#include "fairlead/inline.hpp"
#include "fairlead/vectors/list_kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

// Included by one translation unit an ISA; everything has internal linkage there.
namespace fairlead::vectors {
namespace {

// The next of the fields that are kept as they are; 0 behind the last, where nobody has packed the row.
FAIRLEAD_INLINE std::uint32_t next_far(PackedRow& p) { return p.far < p.end ? *p.far++ : 0; }

FAIRLEAD_INLINE void unpack_one(PackedRow& p, std::size_t i, std::byte* out) {
    std::uint16_t low;
    std::memcpy(&low, p.low + 2 * i, sizeof(low));
    const std::uint32_t code = (p.nibbles[i / 2] >> i % 2 * 4 & 15U) | (p.bits[i / 8] >> i % 8 & 1U) << 4;
    const std::uint32_t exponent = code == 31 ? 0 : code == 30 ? next_far(p) : (p.top - code) & 255U;
    const std::uint32_t high = p.high[i];
    const std::uint32_t bits = (high & 128) << 24 | exponent << 23 | (high & 127) << 16 | low;
    std::memcpy(out + 4 * i, &bits, sizeof(bits));
}

#if defined(__AVX2__)

// Puts exponents where a store has left them 0: of the lanes whose bits are set.
FAIRLEAD_INLINE void put_far(PackedRow& p, std::uint32_t lanes, std::byte* out) {
    for (; lanes != 0; lanes &= lanes - 1) {
        std::byte* at = out + 4 * __builtin_ctz(lanes);
        std::uint32_t bits;
        std::memcpy(&bits, at, sizeof(bits));
        bits |= next_far(p) << 23;
        std::memcpy(at, &bits, sizeof(bits));
    }
}

#endif

#if defined(__AVX512F__)

FAIRLEAD_INLINE void unpack_16(PackedRow& p, std::size_t i, std::byte* out) {
    const auto load = [](const std::uint8_t* at) { return reinterpret_cast<const __m256i*>(at); };
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(load(p.low + 2 * i)));
    const __m512i high = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.high + i)));
    std::uint64_t halves;
    std::uint16_t flags;
    std::memcpy(&halves, p.nibbles + i / 2, sizeof(halves));
    std::memcpy(&flags, p.bits + i / 8, sizeof(flags));
    // Lanes 0 to 7 shift the lower word, lanes 8 to 15 the upper one.
    const __m512i words = _mm512_inserti64x4(_mm512_set1_epi32(static_cast<int>(halves)),
                                             _mm256_set1_epi32(static_cast<int>(halves >> 32)), 1);
    const __m512i shifts = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i nibbles = _mm512_and_si512(_mm512_srlv_epi32(words, shifts), _mm512_set1_epi32(15));
    const __m512i codes = _mm512_mask_or_epi32(nibbles, flags, nibbles, _mm512_set1_epi32(16));
    const __mmask16 there = _mm512_cmplt_epi32_mask(codes, _mm512_set1_epi32(30));
    const __m512i top = _mm512_set1_epi32(static_cast<int>(p.top));
    const __m512i exponent = _mm512_and_si512(_mm512_maskz_sub_epi32(there, top, codes), _mm512_set1_epi32(255));
    const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(128)), 24);
    const __m512i upper = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(127)), 16);
    const __m512i bits = _mm512_or_si512(_mm512_or_si512(sign, upper), _mm512_or_si512(low, _mm512_slli_epi32(exponent, 23)));
    _mm512_storeu_si512(out + 4 * i, bits);
    const __mmask16 far = _mm512_cmpeq_epi32_mask(codes, _mm512_set1_epi32(30));
    if (far != 0) put_far(p, far, out + 4 * i);
}

#elif defined(__AVX2__)

FAIRLEAD_INLINE void unpack_8(PackedRow& p, std::size_t i, std::byte* out) {
    const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.low + 2 * i)));
    const __m256i high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p.high + i)));
    std::uint32_t halves;
    std::memcpy(&halves, p.nibbles + i / 2, sizeof(halves));
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i nibbles =
        _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(halves)), shifts), _mm256_set1_epi32(15));
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(p.bits[i / 8]), lanes), lanes);
    const __m256i codes = _mm256_or_si256(nibbles, _mm256_and_si256(set, _mm256_set1_epi32(16)));
    const __m256i none = _mm256_cmpgt_epi32(codes, _mm256_set1_epi32(29));
    const __m256i below = _mm256_sub_epi32(_mm256_set1_epi32(static_cast<int>(p.top)), codes);
    const __m256i exponent = _mm256_andnot_si256(none, _mm256_and_si256(below, _mm256_set1_epi32(255)));
    const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(128)), 24);
    const __m256i upper = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(127)), 16);
    const __m256i bits = _mm256_or_si256(_mm256_or_si256(sign, upper), _mm256_or_si256(low, _mm256_slli_epi32(exponent, 23)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 4 * i), bits);
    const __m256i far = _mm256_cmpeq_epi32(codes, _mm256_set1_epi32(30));
    const int lanes_far = _mm256_movemask_ps(_mm256_castsi256_ps(far));
    if (lanes_far != 0) put_far(p, static_cast<std::uint32_t>(lanes_far), out + 4 * i);
}

#endif

void unpack(PackedRow p, std::size_t dim, std::byte* out) {
    std::size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= dim; i += 16) unpack_16(p, i, out);
#elif defined(__AVX2__)
    for (; i + 8 <= dim; i += 8) unpack_8(p, i, out);
#endif
    for (; i < dim; ++i) unpack_one(p, i, out);
}

}  // namespace
}  // namespace fairlead::vectors

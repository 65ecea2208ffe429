#pragma once

#include "simd/avx512.hpp"

namespace fairlead::simd {

// AVX-512 with the dot products of bytes (VNNI).
struct Avx512Vnni : Avx512 {
    static constexpr const char* name = "avx512vnni";
    static constexpr bool byte_dots = true;

    static FAIRLEAD_INLINE Raw raw_zero() { return _mm512_setzero_si512(); }
    // Four bytes, in every lane.
    static FAIRLEAD_INLINE Raw raw_word(const void* p) {
        std::int32_t word;
        __builtin_memcpy(&word, p, sizeof word);
        return _mm512_set1_epi32(word);
    }
    // Bits of each byte.
    template <int Shift, int Bits>
    static FAIRLEAD_INLINE Raw bytes_of(Raw a) {
        if constexpr (Shift > 0) a = _mm512_srli_epi16(a, Shift);
        if constexpr (Bits < 8) a = _mm512_and_si512(a, _mm512_set1_epi8((1 << Bits) - 1));
        return a;
    }
    static FAIRLEAD_INLINE Int dot_bytes(Int sum, Raw codes, Raw weights) { return _mm512_dpbusd_epi32(sum, codes, weights); }
    static FAIRLEAD_INLINE Int join_bytes(Int upper, Int lower) {
        return _mm512_add_epi32(_mm512_slli_epi32(upper, 7), lower);
    }

    template <int Bits>
    static FAIRLEAD_INLINE Int start(Int correction) {
        return correction;
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int step(Int sum, Raw w, Raw x) {
        return _mm512_dpbusd_epi32(sum, w, x);
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(Int sum, Int) {
        return sum;
    }
};

}  // namespace fairlead::simd

#pragma once

#include "simd/avx512.hpp"

namespace fairlead::simd {

// AVX-512 with the dot products of bytes (VNNI).
struct Avx512Vnni : Avx512 {
    static constexpr const char* name = "avx512vnni";

    template <int Bits, class F>
    static FAIRLEAD_INLINE Int dots(const Raw (&w)[8], const F& input, Int correction) {
        Int sum = correction;
        FAIRLEAD_UNROLL
        for (int v = 0; v < 8; ++v) sum = _mm512_dpbusd_epi32(sum, w[v], input(v));
        return sum;
    }
};

}  // namespace fairlead::simd

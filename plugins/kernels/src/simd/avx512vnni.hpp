#pragma once

#include "simd/avx512.hpp"

namespace fairlead::simd {

// AVX-512 with the dot products of bytes (VNNI).
struct Avx512Vnni : Avx512 {
    static constexpr const char* name = "avx512vnni";

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

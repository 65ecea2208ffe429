#pragma once

#include "simd/neon.hpp"

namespace fairlead::simd {

// NEON with the dot products of bytes (FEAT_DotProd, ARMv8.2).
struct NeonDotprod : Neon {
    static constexpr const char* name = "neon_dotprod";

    template <int Bits, class F>
    static FAIRLEAD_INLINE Int dots(const Raw (&w)[8], const F& input, Int correction) {
        Int sum = Bits == 4 ? correction : vdupq_n_s32(0);
        FAIRLEAD_UNROLL
        for (int v = 0; v < 8; ++v) sum = vdotq_s32(sum, signed_bytes<Bits>(w[v]), vreinterpretq_s8_u8(input(v)));
        return sum;
    }
};

}  // namespace fairlead::simd

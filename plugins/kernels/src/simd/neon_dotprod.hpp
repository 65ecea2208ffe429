#pragma once

#include "simd/neon.hpp"

namespace fairlead::simd {

// NEON with the dot products of bytes (FEAT_DotProd, ARMv8.2).
struct NeonDotprod : Neon {
    static constexpr const char* name = "neon_dotprod";

    template <int Bits>
    static FAIRLEAD_INLINE Int start(Int correction) {
        return Bits == 4 ? correction : vdupq_n_s32(0);
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int step(Int sum, Raw w, Raw x) {
        return vdotq_s32(sum, signed_bytes<Bits>(w), vreinterpretq_s8_u8(x));
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(Int sum, Int) {
        return sum;
    }
};

}  // namespace fairlead::simd

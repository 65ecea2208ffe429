#pragma once

#include <bit>
#include <cstdint>

#include "fairlead/inline.hpp"

namespace fairlead {

// float16 bits -> float32, exact; subnormals included.
FAIRLEAD_INLINE float half_to_float(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
    const std::uint32_t magnitude = half & 0x7FFFU;
    if (magnitude >= 0x7C00U) {  // infinity and NaN
        return __builtin_bit_cast(float, sign | 0x7F800000U | ((magnitude & 0x3FFU) << 13));
    }
    // Shifting the exponent into float32's field and multiplying by 2^112 normalizes subnormals on the way.
    const float value = __builtin_bit_cast(float, magnitude << 13) * 0x1p112F;
    return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, value) | sign);
}

// Finite, non-negative float32 -> float16 bits, to nearest even; overflow gives infinity.
FAIRLEAD_INLINE std::uint16_t magnitude_to_half(float value) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
    if (bits >= 0x477FF000U) {  // 65520 and above round to infinity
        return 0x7C00U;
    }
    if (bits < 0x38800000U) {  // below 2^-14: a subnormal; the addition rounds at its last bit
        const float shifted = value + 0.5F;
        return static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, shifted) - 0x3F000000U);
    }
    const std::uint32_t rounded = bits + 0xFFFU + ((bits >> 13) & 1U);
    return static_cast<std::uint16_t>((rounded - 0x38000000U) >> 13);
}

// Any float32 -> float16 bits, to nearest even; overflow gives infinity, NaN a quiet one.
FAIRLEAD_INLINE std::uint16_t float_to_half(float value) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
    const std::uint16_t sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U | (magnitude >> 13 & 0x3FFU));
    return static_cast<std::uint16_t>(sign | magnitude_to_half(__builtin_bit_cast(float, magnitude)));
}

}  // namespace fairlead

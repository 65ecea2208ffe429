#pragma once

#include "fairlead/quantized_input.hpp"

namespace fairlead::kernels {

// Groups of smaller activations count as zeros: 127 / x must stay finite.
inline constexpr float kSmallestActivation = 1e-30F;

// q[0, kGroup) = x * 127 / max|x| to nearest even; returns the scale max|x| / 127 and the sum of q. A group with a
// value that is not finite becomes zeros with the scale NaN.
template <class V>
FAIRLEAD_INLINE float quantize_lane(const float* x, std::int8_t* q, std::int32_t& sum) {
    typename V::Vec largest = V::zero();
    typename V::Vec zeros = V::zero();
    FAIRLEAD_UNROLL
    for (std::size_t c = 0; c < kGroup; c += V::width) {
        const typename V::Vec value = V::load(x + c);
        largest = V::max(largest, V::abs(value));
        zeros = V::fma(value, V::zero(), zeros);
    }
    const float magnitude = V::largest(largest);
    const bool finite = V::sum(zeros) == 0.0F;
    const bool counts = finite && magnitude >= kSmallestActivation;
    const typename V::Vec inverse = V::set1(counts ? 127.0F / magnitude : 0.0F);
    typename V::Vec total = V::zero();
    FAIRLEAD_UNROLL
    for (std::size_t c = 0; c < kGroup; c += V::width) {
        // A value that is not finite times zero is NaN, which must not be converted.
        const typename V::Vec value = finite ? V::round(V::mul(V::load(x + c), inverse)) : V::zero();
        V::to_int8(q + c, value);
        total = V::add(total, value);
    }
    sum = static_cast<std::int32_t>(V::sum(total));
    return finite ? (counts ? magnitude / 127.0F : 0.0F) : __builtin_nanf("");
}

// Rounds a vector into place b of the input.
template <class V>
void quantize_input(const float* x, std::size_t columns, const InputView& out, std::size_t b) {
    const std::size_t groups = columns / kGroup;
    for (std::size_t g = 0; g < out.lanes; ++g) {
        const std::size_t start = g / kLanes * kLanes;
        const std::size_t left = out.lanes - start;
        const std::size_t pitch = 4 * (left < kLanes ? left : kLanes);
        std::int8_t q[kGroup] = {};
        std::int32_t sum = 0;
        out.scale(b)[g] = g < groups ? quantize_lane<V>(x + g * kGroup, q, sum) : 0.0F;
        out.correction(b, 4)[g] = -8 * sum;
        out.correction(b, 8)[g] = -128 * sum;
        std::uint8_t* target = out.q(b) + start * kGroup + 4 * (g - start);
        for (std::size_t v = 0; v < 8; ++v) __builtin_memcpy(target + v * pitch, q + 4 * v, 4);
    }
}

}  // namespace fairlead::kernels
